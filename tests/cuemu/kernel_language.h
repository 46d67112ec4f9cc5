/*
 * tests/cuemu/kernel_language.h - the words of CUDA's C++ that our kernels use, for g++ and
 * clang++.
 *
 * Each thread of a block is a fiber. A launch packs its arguments and is queued on its stream; the
 * memory a kernel touches is seen through the hooks that -fsanitize=thread puts in front of every
 * load and store (libtsan is never linked: the hooks are tests/cuemu/memory.cpp).
 */
#ifndef TESTS_CUEMU_KERNEL_LANGUAGE_H
#define TESTS_CUEMU_KERNEL_LANGUAGE_H

#include <cmath>
#include <cstdint>
#include <tuple>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
/* So many bytes of nops in front of the kernel: of all that is said of a function, what can be read
 * when it is launched. */
#define __launch_bounds__(threads, ...) __attribute__((patchable_function_entry(threads)))
/* One section for all of it: its bounds and the symbols inside say where an array ends. One block
 * runs at a time, so one copy is enough; it is filled with NaN before every block. */
#define __shared__ static __attribute__((section("cuemu_shared")))

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_)
    {
    }
};

struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
static inline float4 make_float4(float x, float y, float z, float w)
{
    return {x, y, z, w};
}
static inline uint2 make_uint2(unsigned x, unsigned y)
{
    return {x, y};
}

extern "C" {
/* const: none changes while a fiber lives. */
struct uint3 cuemu_thread_index(void) __attribute__((const));
struct uint3 cuemu_block_index(void) __attribute__((const));
struct uint3 cuemu_block_dim(void) __attribute__((const));
struct uint3 cuemu_grid_dim(void) __attribute__((const));
void *cuemu_dynamic_shared(void);
void cuemu_barrier(const char *file, int line);
void cuemu_check_aligned(const void *at, size_t bytes, const char *file, int line);
enum cuemu_collective { CUEMU_SYNC, CUEMU_SHUFFLE, CUEMU_SHUFFLE_XOR };
uint32_t cuemu_warp(enum cuemu_collective what, unsigned mask, uint32_t value, int argument,
                    const char *file, int line);
/* What is launched: arguments packed for run, which drop frees, and one by one. */
struct cuemu_argument {
    const void *at;
    size_t bytes;
};
struct cuemu_kernel {
    const char *name;
    const void *code;
    void (*run)(void *);
    void (*drop)(void *);
    void *packed;
    size_t packed_bytes;
    const struct cuemu_argument *arguments;
    int count;
};
void cuemu_launch(const struct cuemu_kernel *kernel, dim3 grid, dim3 block, size_t shared_bytes,
                  cudaStream_t stream);
}

#define threadIdx       (cuemu_thread_index())
#define blockIdx        (cuemu_block_index())
#define blockDim        (cuemu_block_dim())
#define gridDim         (cuemu_grid_dim())
#define __syncthreads() cuemu_barrier(__FILE__, __LINE__)
#define __syncwarp()    ((void)cuemu_warp(CUEMU_SYNC, 0xffffffffu, 0, 0, __FILE__, __LINE__))

static inline float cuemu_shuffle(enum cuemu_collective what, unsigned mask, float value,
                                  int argument, const char *file, int line)
{
    union {
        float value;
        uint32_t bits;
    } word = {value};

    word.bits = cuemu_warp(what, mask, word.bits, argument, file, line);
    return word.value;
}
#define __shfl_xor_sync(mask, value, distance)                                                     \
    cuemu_shuffle(CUEMU_SHUFFLE_XOR, mask, value, distance, __FILE__, __LINE__)
#define __shfl_sync(mask, value, lane)                                                             \
    cuemu_shuffle(CUEMU_SHUFFLE, mask, value, lane, __FILE__, __LINE__)

#define NOT_UNROLLED
#define CHECK_ALIGNED(at, bytes) cuemu_check_aligned(at, bytes, __FILE__, __LINE__)
#define DYN_SHARED(type, name)   type *name = static_cast<type *>(cuemu_dynamic_shared())
#define LAUNCH(kernel, grid, block, shared_bytes, stream, ...)                                     \
    cuemu_pack(#kernel, kernel, grid, block, shared_bytes, stream, __VA_ARGS__)

/* Arguments are converted here, as a call would, and copied onto each fiber's stack. */
template <class... P, class... A>
void cuemu_pack(const char *name, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes,
                cudaStream_t stream, A &&...arguments)
{
    struct packed {
        void (*kernel)(P...);
        std::tuple<P...> arguments;
    };
    packed *made = new packed{kernel, std::tuple<P...>(std::forward<A>(arguments)...)};

    std::apply(
        [&](const P &...each) {
            const cuemu_argument one_by_one[] = {{&each, sizeof each}...};
            const cuemu_kernel what = {name,
                                       reinterpret_cast<const void *>(kernel),
                                       [](void *at) {
                                           std::apply(static_cast<packed *>(at)->kernel,
                                                      static_cast<packed *>(at)->arguments);
                                       },
                                       [](void *at) { delete static_cast<packed *>(at); },
                                       made,
                                       sizeof *made,
                                       one_by_one,
                                       (int)sizeof...(P)};

            cuemu_launch(&what, grid, block, shared_bytes, stream);
        },
        made->arguments);
}

#endif
