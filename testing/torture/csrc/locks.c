/* Locks of C that know who holds them, held across a park. They are only ever tried, never waited for:
 * a goroutine that waits in C keeps its thread, which the holder may need. Once a check has failed nobody
 * waits any more, as the lock may stay taken. */
#define _GNU_SOURCE
#include "torture.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <threads.h>
#include <time.h>

static volatile int has_failed;

#undef CHECK
#define CHECK(condition)         \
    do {                         \
        if (!(condition)) {      \
            has_failed = 1;      \
            return __LINE__;     \
        }                        \
    } while (0)

/* Between two tries. */
#define WAIT(park)               \
    do {                         \
        CHECK(!has_failed);      \
        park();                  \
    } while (0)

static pthread_mutex_t recursive, checked, inheriting, robust;
static pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
static mtx_t c11;
static int recursive_owner, checked_owner, rw_owner, c11_owner;
static long inheriting_count, robust_count;

static int init_kind(pthread_mutex_t *mutex, int kind)
{
    pthread_mutexattr_t attr;
    CHECK(pthread_mutexattr_init(&attr) == 0);
    CHECK(pthread_mutexattr_settype(&attr, kind) == 0);
    CHECK(pthread_mutex_init(mutex, &attr) == 0);
    CHECK(pthread_mutexattr_destroy(&attr) == 0);
    return 0;
}

int torture_locks_init(void)
{
    CHECK(init_kind(&recursive, PTHREAD_MUTEX_RECURSIVE) == 0);
    CHECK(init_kind(&checked, PTHREAD_MUTEX_ERRORCHECK) == 0);
    CHECK(mtx_init(&c11, mtx_plain | mtx_recursive) == thrd_success);
    pthread_mutexattr_t attr;
    CHECK(pthread_mutexattr_init(&attr) == 0);
    CHECK(pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST) == 0);
    CHECK(pthread_mutex_init(&robust, &attr) == 0);
    CHECK(pthread_mutexattr_destroy(&attr) == 0);
    return 0;
}

int torture_recursive(park_fn park, int id)
{
    while (pthread_mutex_trylock(&recursive) != 0)
        WAIT(park);
    CHECK(recursive_owner == 0);
    recursive_owner = id + 1;
    for (int i = 0; i < 3; i++) {
        park();
        CHECK(recursive_owner == id + 1);
        CHECK(pthread_mutex_lock(&recursive) == 0);
    }
    for (int i = 0; i < 3; i++) {
        park();
        CHECK(pthread_mutex_unlock(&recursive) == 0);
        CHECK(recursive_owner == id + 1);
    }
    recursive_owner = 0;
    CHECK(pthread_mutex_unlock(&recursive) == 0);
    return 0;
}

int torture_c11_recursive(park_fn park, int id)
{
    while (mtx_trylock(&c11) != thrd_success)
        WAIT(park);
    CHECK(c11_owner == 0);
    c11_owner = id + 1;
    park();
    CHECK(mtx_lock(&c11) == thrd_success);
    park();
    CHECK(mtx_unlock(&c11) == thrd_success);
    CHECK(c11_owner == id + 1);
    c11_owner = 0;
    CHECK(mtx_unlock(&c11) == thrd_success);
    return 0;
}

int torture_checked(park_fn park, int id)
{
    int error = pthread_mutex_trylock(&checked);
    while (error == EBUSY) {
        CHECK(pthread_mutex_unlock(&checked) == EPERM); /* somebody else's */
        WAIT(park);
        error = pthread_mutex_trylock(&checked);
    }
    CHECK(error == 0 && checked_owner == 0);
    checked_owner = id + 1;
    park();
    CHECK(pthread_mutex_lock(&checked) == EDEADLK);
    park();
    CHECK(checked_owner == id + 1);
    checked_owner = 0;
    CHECK(pthread_mutex_unlock(&checked) == 0);
    return 0;
}

int torture_rwlock(park_fn park, int id)
{
    /* Once, as readers that come again and again leave no moment for a writer. */
    int error = pthread_rwlock_tryrdlock(&rw);
    CHECK(error == 0 || error == EBUSY);
    if (error == 0) {
        CHECK(rw_owner == 0);
        park();
        CHECK(rw_owner == 0);
        CHECK(pthread_rwlock_unlock(&rw) == 0);
    }
    while ((error = pthread_rwlock_trywrlock(&rw)) != 0) {
        CHECK(error == EBUSY);
        WAIT(park);
    }
    CHECK(rw_owner == 0);
    rw_owner = id + 1;
    park();
    CHECK(pthread_rwlock_wrlock(&rw) == EDEADLK); /* it knows its writer */
    CHECK(pthread_rwlock_rdlock(&rw) == EDEADLK);
    park();
    CHECK(rw_owner == id + 1);
    rw_owner = 0;
    CHECK(pthread_rwlock_unlock(&rw) == 0);
    return 0;
}

/* 0, or the error that priority inheritance is refused with. */
int torture_inheriting_init(void)
{
    pthread_mutexattr_t attr;
    CHECK(pthread_mutexattr_init(&attr) == 0);
    int error = pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT);
    if (error == 0)
        error = pthread_mutex_init(&inheriting, &attr);
    pthread_mutexattr_destroy(&attr);
    return error;
}

/* Not held across a park: its owner is the kernel's thread. */
int torture_inheriting(park_fn park, int rounds)
{
    for (int i = 0; i < rounds; i++) {
        CHECK(pthread_mutex_lock(&inheriting) == 0);
        inheriting_count++;
        CHECK(pthread_mutex_unlock(&inheriting) == 0);
        if (park != NULL)
            park();
    }
    return 0;
}

long torture_inheriting_count(void)
{
    return inheriting_count;
}

/* Tried and held across a park: what becomes of it if the owner's thread changes. */
int torture_inheriting_held(park_fn park)
{
    int error;
    while ((error = pthread_mutex_trylock(&inheriting)) == EBUSY)
        WAIT(park);
    CHECK(error == 0);
    park();
    CHECK(pthread_mutex_unlock(&inheriting) == 0);
    return 0;
}

/* The list of robust mutexes that a thread holds hangs on its descriptor. */
int torture_robust(park_fn park, int rounds)
{
    for (int i = 0; i < rounds; i++) {
        CHECK(pthread_mutex_lock(&robust) == 0);
        robust_count++;
        CHECK(pthread_mutex_unlock(&robust) == 0);
        if (park != NULL)
            park();
    }
    return 0;
}

int torture_robust_held(park_fn park)
{
    int error;
    while ((error = pthread_mutex_trylock(&robust)) == EBUSY)
        WAIT(park);
    CHECK(error == 0);
    long before = robust_count;
    park();
    CHECK(robust_count == before);
    CHECK(pthread_mutex_unlock(&robust) == 0);
    return 0;
}

long torture_robust_count(void)
{
    return robust_count;
}

/* A condition variable, a semaphore and a timed lock, between a goroutine and a plain thread. */
static void *answer(void *argument)
{
    sem_t *semaphores = argument;
    for (int i = 0; i < 20; i++) {
        sem_wait(&semaphores[0]);
        sem_post(&semaphores[1]);
    }
    return &semaphores[0];
}

int torture_semaphore(park_fn park)
{
    sem_t semaphores[2];
    CHECK(sem_init(&semaphores[0], 0, 0) == 0 && sem_init(&semaphores[1], 0, 0) == 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, answer, semaphores) == 0);
    for (int i = 0; i < 20; i++) {
        CHECK(sem_post(&semaphores[0]) == 0);
        park();
        CHECK(sem_wait(&semaphores[1]) == 0);
    }
    void *result = NULL;
    park();
    CHECK(pthread_join(thread, &result) == 0 && result == &semaphores[0]);

    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
    CHECK(pthread_mutex_lock(&mutex) == 0);
    park();
    struct timespec soon;
    clock_gettime(CLOCK_REALTIME, &soon);
    CHECK(pthread_cond_timedwait(&condition, &mutex, &soon) == ETIMEDOUT);
    CHECK(pthread_mutex_timedlock(&mutex, &soon) == ETIMEDOUT);
    CHECK(pthread_mutex_unlock(&mutex) == 0);
    return 0;
}
