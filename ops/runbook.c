/*
 * ops/runbook.c - the pages, taken in by the assembler.
 *
 * A new page is a file in ops/runbooks and a line in PAGES; a test compares the two. The
 * Makefile knows that this file depends on the pages, which the compiler cannot see.
 */
#include "ops/runbook.h"

#include <stddef.h>

/* clang-format off */
#define PAGES(X)                            \
    X(avro_schemas,    "avro-schemas")      \
    X(dead_letters,    "dead-letters")      \
    X(gpu_failed,      "gpu-failed")        \
    X(kafka_down,      "kafka-down")        \
    X(lag_grows,       "lag-grows")         \
    X(model_refused,   "model-refused")     \
    X(redis_down,      "redis-down")        \
    X(retrain_behind,  "retrain-behind")    \
    X(state_lost,      "state-lost")
/* clang-format on */

#define TAKE_IN(id, name)                                                                          \
    __asm__(".pushsection .rodata\n"                                                               \
            ".local runbook_" #id "_begin, runbook_" #id "_end\n"                                  \
            "runbook_" #id "_begin:\n"                                                             \
            ".incbin \"ops/runbooks/" name ".md\"\n"                                               \
            "runbook_" #id "_end:\n"                                                               \
            ".popsection\n");                                                                      \
    extern const char runbook_##id##_begin[], runbook_##id##_end[];
PAGES(TAKE_IN)

#define COUNT(id, name) +1
#define PAGES_COUNT     (0 PAGES(COUNT))

const struct runbook *runbook_at(int index)
{
    static struct runbook books[PAGES_COUNT];

    if (index < 0 || index >= PAGES_COUNT)
        return NULL;
    if (books[0].name == NULL) {
        int at = 0;

#define FILL(id, name)                                                                             \
    books[at++] = (struct runbook){                                                                \
        name, {runbook_##id##_begin, (size_t)(runbook_##id##_end - runbook_##id##_begin)}};
        PAGES(FILL)
    }
    return &books[index];
}
