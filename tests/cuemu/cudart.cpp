/*
 * tests/cuemu/cudart.cpp - a CUDA runtime and a cuBLAS of our own: streams that are lazy, copies
 * that are late, limits that are kept.
 *
 * Nothing on a stream happens before somebody waits for it, so a missing wait shows in what is
 * read. A copy from pinned memory reads it when the stream gets there; the copies of the default
 * stream do not wait for non-blocking streams, and those do not wait for it.
 */
#include "tests/cuemu/inside.h"

#include <cublas_v2.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <deque>
#include <map>
#include <vector>

struct CUstream_st {
    std::deque<std::function<void()>> queue;
};
struct cublasContext {
    cudaStream_t stream;
};

namespace
{
struct {
    int devices, major, minor, blas, idle;
} pretend = {1, 9, 0, 1, 0};

__attribute__((constructor)) void read_machine(void)
{
    const char *text = getenv("CUEMU_MACHINE");

    if (text != NULL && sscanf(text, "%d %d %d %d %d", &pretend.devices, &pretend.major,
                               &pretend.minor, &pretend.blas, &pretend.idle) != 5)
        abort();
}

CUstream_st default_stream;
std::vector<cudaStream_t> streams;
std::map<char *, size_t> pinned;
cudaError_t last_error;
int64_t launches, taken;

cudaError_t fail(cudaError_t error)
{
    return last_error = error;
}

CUstream_st *real(cudaStream_t stream)
{
    return stream == NULL ? &default_stream : stream;
}

void drain(CUstream_st *stream)
{
    while (!stream->queue.empty()) {
        std::function<void()> next = std::move(stream->queue.front());

        stream->queue.pop_front();
        next();
    }
}

void drain_all(void)
{
    drain(&default_stream);
    for (cudaStream_t stream : streams)
        drain(stream);
}

bool is_pinned(const void *at)
{
    auto after = pinned.upper_bound((char *)at);

    return after != pinned.begin() && (--after, (char *)at < after->first + after->second);
}

void copy(void *to, const void *from, size_t bytes)
{
    bool to_device = memory_is_device(to), from_device = memory_is_device(from);

    if ((to_device && !memory_check(to, bytes, false, "a copy")) ||
        (from_device && !memory_check(from, bytes, true, "a copy")))
        return;
    memory_open(true);
    memmove(to, from, bytes);
    memory_open(false);
    if (to_device)
        memory_defined(to, bytes);
}

bool right_kind(const void *to, const void *from, enum cudaMemcpyKind kind)
{
    bool ok = memory_is_device(to) ==
                  (kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice) &&
              memory_is_device(from) ==
                  (kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice);

    if (!ok)
        cuemu_report("copy of another kind", NULL, "from %p to %p as kind %d", from, to, (int)kind);
    return ok;
}
} /* namespace */

extern "C" {
int64_t cuemu_launches(void)
{
    return launches;
}

int64_t cuemu_allocations(void)
{
    return taken;
}

cudaError_t cudaGetDeviceCount(int *count)
{
    if (pretend.devices < 0)
        return fail(cudaErrorInsufficientDriver);
    *count = pretend.devices;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device)
{
    memset(properties, 0, sizeof *properties);
    if (device != 0)
        return fail(cudaErrorInvalidValue);
    snprintf(properties->name, sizeof properties->name, "an emulated GPU");
    properties->major = pretend.major;
    properties->minor = pretend.minor;
    return cudaSuccess;
}

cudaError_t cudaGetLastError(void)
{
    cudaError_t error = last_error;

    last_error = cudaSuccess;
    return error;
}

const char *cudaGetErrorString(cudaError_t error)
{
    switch (error) {
    case cudaSuccess:
        return "no error";
    case cudaErrorMemoryAllocation:
        return "out of memory";
    case cudaErrorInvalidConfiguration:
        return "invalid configuration argument";
    case cudaErrorInsufficientDriver:
        return "CUDA driver version is insufficient for CUDA runtime version";
    default:
        return "invalid argument";
    }
}

cudaError_t cudaMalloc(void **at, size_t bytes)
{
    memory_start();
    taken++;
    *at = bytes == 0 ? NULL : memory_allocate(bytes);
    return bytes > 0 && *at == NULL ? fail(cudaErrorMemoryAllocation) : cudaSuccess;
}

cudaError_t cudaFree(void *at)
{
    if (at == NULL)
        return cudaSuccess;
    drain_all();
    if (memory_free(at))
        return cudaSuccess;
    cuemu_report("bad free", NULL, "%p was not allocated, or is freed twice", at);
    return fail(cudaErrorInvalidValue);
}

cudaError_t cudaMallocHost(void **at, size_t bytes)
{
    taken++;
    *at = calloc(1, bytes);
    memset(*at, 0xff, bytes);
    pinned[(char *)*at] = bytes;
    return cudaSuccess;
}

cudaError_t cudaFreeHost(void *at)
{
    if (at == NULL)
        return cudaSuccess;
    drain_all();
    pinned.erase((char *)at);
    free(at);
    return cudaSuccess;
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind)
{
    memory_start();
    drain(&default_stream);
    if (bytes == 0)
        return cudaSuccess;
    if (!right_kind(to, from, kind))
        return fail(cudaErrorInvalidValue);
    copy(to, from, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    memory_start();
    if (bytes == 0)
        return cudaSuccess;
    if (!right_kind(to, from, kind))
        return fail(cudaErrorInvalidValue);
    if (!memory_is_device(from) && !is_pinned(from)) {
        /* Pageable memory is staged before the call returns. */
        std::vector<char> staged((const char *)from, (const char *)from + bytes);

        real(stream)->queue.push_back([=] { copy(to, staged.data(), bytes); });
    } else {
        real(stream)->queue.push_back([=] { copy(to, from, bytes); });
    }
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *at, int value, size_t bytes, cudaStream_t stream)
{
    if (bytes == 0)
        return cudaSuccess;
    real(stream)->queue.push_back([=] {
        if (!memory_check(at, bytes, false, "a memset"))
            return;
        memory_open(true);
        memset(at, value, bytes);
        memory_open(false);
        memory_defined(at, bytes);
    });
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned flags)
{
    (void)flags;
    *stream = new CUstream_st;
    streams.push_back(*stream);
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    drain(stream);
    for (size_t i = 0; i < streams.size(); i++)
        if (streams[i] == stream)
            streams.erase(streams.begin() + (ptrdiff_t)i);
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    drain(real(stream));
    return last_error;
}

cudaError_t cudaDeviceSynchronize(void)
{
    drain_all();
    return last_error;
}

void cuemu_launch(const char *name, dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
                  void (*run)(void *), void *arguments, size_t arguments_bytes,
                  void (*drop)(void *))
{
    uint64_t threads = (uint64_t)block.x * block.y * block.z;
    launch what = {name, grid, block, shared_bytes, run, arguments, arguments_bytes};

    memory_start();
    if (threads == 0 || threads > BLOCK_THREADS_MAX || block.z > 64 || grid.x == 0 || grid.y == 0 ||
        grid.z == 0 || grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535 ||
        shared_bytes > SHARED_BYTES_MAX) {
        cuemu_report("launch refused", name,
                     "%s: grid (%u,%u,%u), block (%u,%u,%u), %zu bytes shared", name, grid.x,
                     grid.y, grid.z, block.x, block.y, block.z, shared_bytes);
        drop(arguments);
        (void)fail(cudaErrorInvalidConfiguration);
        return;
    }
    if (threads % WARP != 0)
        cuemu_report("part of a warp", name, "%s: %u threads a block", name, (unsigned)threads);
    real(stream)->queue.push_back([=] {
        launches++;
        if (!pretend.idle)
            fibers_run_grid(what);
        drop(arguments);
    });
}

/* ---- cuBLAS: column by column in double, with its rules about leading dimensions ---- */

cublasStatus_t cublasCreate_v2(cublasHandle_t *handle)
{
    *handle = new cublasContext{NULL};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDestroy_v2(cublasHandle_t handle)
{
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, cudaStream_t stream)
{
    handle->stream = stream;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode)
{
    (void)handle;
    (void)mode;
    return CUBLAS_STATUS_SUCCESS;
}

/* Columns may lie apart: each is checked for itself. */
static bool columns_there(const float *at, int rows, int columns, int pitch, bool read)
{
    for (int j = 0; j < columns; j++)
        if (!memory_check(at + (ptrdiff_t)j * pitch, (size_t)rows * sizeof *at, read, "cuBLAS"))
            return false;
    return true;
}

cublasStatus_t cublasSgemm_v2(cublasHandle_t handle, cublasOperation_t op_a, cublasOperation_t op_b,
                              int m, int n, int k, const float *alpha, const float *a, int lda,
                              const float *b, int ldb, const float *beta, float *c, int ldc)
{
    int a_rows = op_a == CUBLAS_OP_N ? m : k, a_columns = op_a == CUBLAS_OP_N ? k : m;
    int b_rows = op_b == CUBLAS_OP_N ? k : n, b_columns = op_b == CUBLAS_OP_N ? n : k;
    float by = *alpha, keep = *beta; /* read now, as in the host's pointer mode */

    if (handle == NULL)
        return CUBLAS_STATUS_NOT_INITIALIZED;
    if (m < 0 || n < 0 || k < 0 || lda < std::max(1, a_rows) || ldb < std::max(1, b_rows) ||
        ldc < std::max(1, m)) {
        cuemu_report("cuBLAS refused", NULL, "m=%d n=%d k=%d lda=%d ldb=%d ldc=%d", m, n, k, lda,
                     ldb, ldc);
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    real(handle->stream)->queue.push_back([=] {
        if (!columns_there(a, a_rows, a_columns, lda, true) ||
            !columns_there(b, b_rows, b_columns, ldb, true) ||
            !columns_there(c, m, n, ldc, keep != 0))
            return;
        memory_open(true);
        for (int j = 0; j < n; j++) {
            for (int i = 0; i < m; i++) {
                float *to = c + (ptrdiff_t)j * ldc + i;
                double sum = 0;

                for (int l = 0; l < k; l++)
                    sum += (double)a[op_a == CUBLAS_OP_N ? i + (ptrdiff_t)l * lda
                                                         : l + (ptrdiff_t)i * lda] *
                           (double)b[op_b == CUBLAS_OP_N ? l + (ptrdiff_t)j * ldb
                                                         : j + (ptrdiff_t)l * ldb];
                *to = by * (float)sum + (keep != 0 ? keep * *to : 0);
                memory_defined(to, sizeof *to);
            }
        }
        memory_open(false);
    });
    return CUBLAS_STATUS_SUCCESS;
}

/* What blas.c opens: it is compiled with these names for dlopen, dlsym and dlclose. */
void *cuemu_dlopen(const char *name, int mode)
{
    (void)mode;
    return pretend.blas != 0 && strcmp(name, "libcublas.so.13") == 0 ? (void *)&pretend : NULL;
}

void *cuemu_dlsym(void *library, const char *name)
{
    static const struct {
        const char *name;
        void *function;
    } table[] = {{"cublasCreate_v2", (void *)cublasCreate_v2},
                 {"cublasDestroy_v2", (void *)cublasDestroy_v2},
                 {"cublasSetStream_v2", (void *)cublasSetStream_v2},
                 {"cublasSetMathMode", (void *)cublasSetMathMode},
                 {"cublasSgemm_v2", (void *)cublasSgemm_v2}};

    (void)library;
    for (const auto &row : table)
        if (strcmp(row.name, name) == 0)
            return row.function;
    return NULL;
}

int cuemu_dlclose(void *library)
{
    (void)library;
    return 0;
}
}
