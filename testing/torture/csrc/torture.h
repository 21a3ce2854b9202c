/* What the C files of the torture suite share. A function that parks its goroutine is called through
 * a pointer, so that the compiler knows nothing about it. Each check function returns 0, or the line of
 * the check that failed. */
#ifndef TORTURE_H
#define TORTURE_H

typedef void (*park_fn)(void);

#define CHECK(condition)         \
    do {                         \
        if (!(condition))        \
            return __LINE__;     \
    } while (0)

#endif
