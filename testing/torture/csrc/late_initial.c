/* A library that is loaded late although its thread-locals lie at a fixed offset from the thread's
 * control block: they take part of what is kept free in every block. */
static __thread int late_value __attribute__((tls_model("initial-exec"))) = 11;
/* More than there may be by rounding up. */
static __thread char late_text[128] __attribute__((tls_model("initial-exec"))) = "as it was";

int *late_value_place(void)
{
    return &late_value;
}

char *late_text_place(void)
{
    return late_text;
}
