/* A library that is loaded late, with thread-locals that the loader allocates on demand. */
__thread int late_value = 7;
__thread char late_block[64 * 1024] = {1};
static __thread long late_count;

int *late_value_place(void)
{
    return &late_value;
}

char *late_block_place(void)
{
    return late_block;
}

long late_bump(void)
{
    return ++late_count;
}
