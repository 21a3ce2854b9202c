/* Code that gort knows nothing about: it computes, in integers and in floating point, and prints. */
#include <stdint.h>
#include <stdio.h>

/* Both results depend on every step, so that a register lost in between shows. */
uint64_t preempt_foreign(uint64_t seed, uint32_t rounds)
{
    uint64_t word = seed;
    double number = (double)(seed % 1000) + 0.5;
    for (uint32_t i = 0; i < rounds; i++) {
        word = word * 6364136223846793005u + 1442695040888963407u;
        number = number * 3.75 * (1.0 - number / 2000.0);
        number -= (double)(int64_t)(number / 1000.0) * 1000.0;
        if (number < 1.0)
            number += (double)(word >> 54) + 1.0;
    }
    union {
        double number;
        uint64_t bits;
    } last = {.number = number};
    return word ^ last.bits;
}

/* Whole lines leave the buffer, whatever descriptor 1 is. */
int preempt_line_buffered(void)
{
    return setvbuf(stdout, NULL, _IOLBF, 4096);
}

/* One line, by a dozen calls under stdio's own lock. */
void preempt_print(uint32_t id, uint64_t sequence, const char *filler)
{
    flockfile(stdout);
    printf("C %u %llu ", id, (unsigned long long)sequence);
    for (const char *at = filler; *at != 0; at++)
        putc_unlocked(*at, stdout);
    putc_unlocked('\n', stdout);
    funlockfile(stdout);
}

int preempt_flush(void)
{
    return fflush(stdout);
}
