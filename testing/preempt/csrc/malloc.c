/* malloc with a check in front: nothing inside the runtime may call it, by way of Rust or of libc.
 * Defined in the program, these names are what all libraries get as well. */
#include <errno.h>
#include <stddef.h>

/* The program's; it ends the process if the caller is inside the runtime. The package's tests are linked
 * with this file too, and have none. */
extern void preempt_assert_outside(void) __attribute__((weak));

static void check(void)
{
    if (preempt_assert_outside)
        preempt_assert_outside();
}

extern void *__libc_malloc(size_t);
extern void __libc_free(void *);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

void *malloc(size_t size)
{
    check();
    return __libc_malloc(size);
}

void free(void *memory)
{
    check();
    __libc_free(memory);
}

void *calloc(size_t count, size_t size)
{
    check();
    return __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size)
{
    check();
    return __libc_realloc(memory, size);
}

void *memalign(size_t alignment, size_t size)
{
    check();
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    check();
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size)
{
    check();
    void *found = __libc_memalign(alignment, size);
    if (found == NULL)
        return ENOMEM;
    *memory = found;
    return 0;
}
