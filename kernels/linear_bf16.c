/* kernels/linear_bf16.c - packing in pairs, and which way this machine has. */
#include "kernels/linear_bf16.h"

#include "kernels/ops.h"

#include <pthread.h>
#include <string.h>
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* Of arch_prctl(2): a process asks once before it may use the tiles' registers. */
#define REQUEST_PERMISSION 0x1023
#define TILE_DATA          18

static enum linear_bf16_way best;
static pthread_once_t once = PTHREAD_ONCE_INIT;

void linear_bf16_pack(uint16_t *pairs, struct linear w)
{
    int32_t pitch = linear_bf16_pitch(w.K);

    memset(pairs, 0, (size_t)linear_bf16_pairs_count(w.K, w.N) * sizeof *pairs);
    for (int32_t n = 0; n < w.N; n += CPU_PANEL)
        for (int32_t k = 0; k < w.K; k++)
            for (int32_t i = 0; i < CPU_PANEL; i++) {
                uint32_t bits;

                memcpy(&bits, w.panels + ((int64_t)n * w.K + (int64_t)k * CPU_PANEL + i),
                       sizeof bits);
                pairs[(int64_t)n * pitch + (int64_t)(k / 2) * 2 * CPU_PANEL + 2 * i + k % 2] =
                    (uint16_t)(bits >> 16);
            }
}

static void find(void)
{
#if defined(__x86_64__) && defined(__linux__) && !defined(__clang_analyzer__)
    if (strcmp(ops_cpu()->name, "v4") != 0)
        return;
    if (__builtin_cpu_supports("avx512bf16"))
        best = LINEAR_BF16_AVX512;
    if (__builtin_cpu_supports("amx-bf16") &&
        syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0)
        best = LINEAR_BF16_AMX;
#endif
}

enum linear_bf16_way linear_bf16_best(void)
{
    (void)pthread_once(&once, find);
    return best;
}

const char *linear_bf16_name(enum linear_bf16_way way)
{
    static const char *const names[] = {"portable", "avx512", "amx"};

    return names[way];
}
