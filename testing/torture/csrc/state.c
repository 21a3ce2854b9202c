/* What C keeps per thread without saying so, held across a park. */
#define _GNU_SOURCE
#include "torture.h"

#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <locale.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

int torture_errno(park_fn park, int id)
{
    CHECK(close(-1) == -1);
    park();
    CHECK(errno == EBADF);
    errno = id;
    park();
    CHECK(errno == id);
    int *place = &errno;
    park();
    CHECK(place == &errno && *place == id);
    return 0;
}

static __thread long counter;
static __thread struct {
    int first, second;
    char text[40];
} record = {7, 8, "as the linker wrote it"};

int torture_thread_variables(park_fn park, int id)
{
    CHECK(counter == 0 && record.first == 7 && record.second == 8);
    CHECK(strcmp(record.text, "as the linker wrote it") == 0);
    for (int i = 0; i < 5; i++) {
        counter++;
        record.first = id;
        park();
        counter++;
        record.second = id + i;
        snprintf(record.text, sizeof record.text, "%d-%d", id, i);
        park();
        char expected[40];
        snprintf(expected, sizeof expected, "%d-%d", id, i);
        CHECK(counter == 2 * (i + 1) && record.first == id && record.second == id + i);
        CHECK(strcmp(record.text, expected) == 0);
    }
    return 0;
}

/* glibc's strtok keeps its place in one variable for all threads (POSIX does not ask for more), so
 * programs with threads do what other C libraries do: */
static __thread char *strtok_place;
#define STRTOK(text, separators) strtok_r(text, separators, &strtok_place)

int torture_strtok(park_fn park, int id)
{
    char text[64], expected[64];
    snprintf(text, sizeof text, "a%d b%d c%d", id, id, id);
    char *token = STRTOK(text, " ");
    for (char letter = 'a'; letter <= 'c'; letter++) {
        snprintf(expected, sizeof expected, "%c%d", letter, id);
        CHECK(token != NULL && strcmp(token, expected) == 0);
        park();
        token = STRTOK(NULL, " ");
    }
    CHECK(token == NULL);
    return 0;
}

int torture_ctype(park_fn park)
{
    for (int i = 0; i < 3; i++) {
        for (int c = 0; c < 128; c++)
            CHECK(!!isalpha(c) == ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')));
        CHECK(toupper('x') == 'X' && tolower('X') == 'x' && isspace('\t') && !isspace('x'));
        const unsigned short *table = *__ctype_b_loc();
        park();
        CHECK(table == *__ctype_b_loc());
    }
    return 0;
}

int torture_locale(park_fn park, int id)
{
    /* Every other goroutine has a locale of its own. */
    locale_t utf8 = newlocale(LC_ALL_MASK, "C.UTF-8", (locale_t)0);
    if (utf8 == (locale_t)0)
        return 0; /* this machine has no such locale */
    CHECK(uselocale((locale_t)0) == LC_GLOBAL_LOCALE && MB_CUR_MAX == 1);
    for (int i = 0; i < 3; i++) {
        int own = (id + i) % 2;
        uselocale(own ? utf8 : LC_GLOBAL_LOCALE);
        park();
        CHECK(uselocale((locale_t)0) == (own ? utf8 : LC_GLOBAL_LOCALE));
        CHECK(MB_CUR_MAX == (own ? 6 : 1));
        wchar_t wide = 0;
        mbstate_t state = {0};
        park();
        CHECK(mbrtowc(&wide, "\xc3\xa4", 2, &state) == (own ? 2 : (size_t)-1));
        CHECK(!own || wide == 0xe4);
    }
    uselocale(LC_GLOBAL_LOCALE);
    freelocale(utf8);
    return 0;
}

int torture_strerror(park_fn park, int id)
{
    char expected[64];
    snprintf(expected, sizeof expected, "Unknown error %d", 100000 + id);
    const char *text = strerror(100000 + id);
    CHECK(strcmp(text, expected) == 0);
    park();
    CHECK(strcmp(text, expected) == 0);
    park();
    CHECK(strcmp(strerror(ENOENT), "No such file or directory") == 0);
    return 0;
}

int torture_dlerror(park_fn park, int id)
{
    char name[64];
    snprintf(name, sizeof name, "/no-such-library-%d.so", id);
    CHECK(dlopen(name, RTLD_NOW) == NULL);
    park();
    const char *text = dlerror();
    CHECK(text != NULL && strstr(text, name) != NULL);
    CHECK(dlerror() == NULL);
    return 0;
}

static __attribute__((noinline, noreturn)) void jump(jmp_buf buffer, park_fn park, int value)
{
    park();
    longjmp(buffer, value);
}

int torture_longjmp(park_fn park, int id)
{
    jmp_buf outer, inner;
    volatile int jumps = 0;
    int got = setjmp(outer);
    if (got == 0) {
        jumps++;
        park();
        if (setjmp(inner) == 0) {
            jumps++;
            jump(inner, park, 1);
        }
        park();
        jump(outer, park, id + 1);
    }
    CHECK(got == id + 1 && jumps == 2);
    return 0;
}

/* A stream that all goroutines use. Its lock knows its owner by the thread's descriptor. */
static FILE *stream;
static int inside;
static long lines;

int torture_stream_open(void)
{
    stream = tmpfile();
    return stream == NULL ? __LINE__ : 0;
}

long torture_stream_lines(void)
{
    fflush(stream);
    rewind(stream);
    long count = 0;
    for (int c; (c = getc(stream)) != EOF;)
        count += c == '\n';
    fclose(stream);
    return count == lines ? count : -1;
}

int torture_stdio(park_fn park, int id)
{
    while (ftrylockfile(stream) != 0)
        park();
    CHECK(inside == 0);
    inside = id + 1;
    flockfile(stream); /* the owner may do so again */
    park();
    CHECK(inside == id + 1);
    CHECK(fprintf(stream, "%d\n", id) > 0);
    funlockfile(stream);
    park();
    CHECK(inside == id + 1);
    lines++;
    inside = 0;
    funlockfile(stream);
    return 0;
}

static __thread park_fn comparator_park;

static int compare(const void *a, const void *b)
{
    comparator_park();
    return (*(const int *)a > *(const int *)b) - (*(const int *)a < *(const int *)b);
}

int torture_qsort(park_fn park, int id)
{
    int numbers[8];
    for (int i = 0; i < 8; i++)
        numbers[i] = (id * 31 + i * 17) % 101;
    comparator_park = park;
    qsort(numbers, 8, sizeof numbers[0], compare);
    for (int i = 1; i < 8; i++)
        CHECK(numbers[i - 1] <= numbers[i]);
    return 0;
}

static __thread int child_variable = 3;

static void *child_thread(void *argument)
{
    if (child_variable++ != 3)
        return NULL;
    char *bytes = malloc(1000);
    memset(bytes, 1, 1000);
    free(bytes);
    return child_variable == 4 ? argument : NULL;
}

/* In the child of a fork, libc takes the stacks of all other threads for free memory: that of the
 * thread that the goroutine ran on, too. Stacks larger than what libc keeps (40 MiB) make it unmap
 * them; then each thread that is waited for makes the kernel look at what it knows of this one. */
int torture_child_threads(void)
{
    pthread_attr_t attr;
    CHECK(pthread_attr_init(&attr) == 0);
    CHECK(pthread_attr_setstacksize(&attr, 48 << 20) == 0);
    for (int i = 0; i < 4; i++) {
        pthread_t thread;
        void *result = NULL;
        CHECK(pthread_create(&thread, &attr, child_thread, &i) == 0);
        CHECK(pthread_join(thread, &result) == 0);
        CHECK(result == &i);
    }
    CHECK(pthread_attr_destroy(&attr) == 0);
    return 0;
}
