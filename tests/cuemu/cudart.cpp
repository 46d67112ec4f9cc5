/*
 * tests/cuemu/cudart.cpp - a CUDA runtime and a cuBLAS of our own: streams that are lazy, copies
 * that are late, limits that are kept.
 *
 * Threads of the host take turns: a call, with all that it has run, is one turn. Whoever waits for
 * a stream runs it. What was refused, and what is captured, is a thread's own.
 *
 * Nothing on a stream happens before somebody waits for it, so a missing wait shows in what is
 * read. A copy from pinned memory reads it when the stream gets there; the copies of the default
 * stream do not wait for non-blocking streams, and those do not wait for it.
 */
#include "tests/cuemu/ptx.h"

#include <cublas_v2.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

/* First in whatever a thread of the host may call. */
#define TAKE_TURN std::lock_guard<std::recursive_mutex> turn(turns)

using work = std::function<void()>;
struct CUgraph_st {
    std::vector<work> nodes;
};
struct CUgraphExec_st {
    std::vector<work> nodes;
};
struct CUstream_st {
    std::deque<work> queue;
    CUgraph_st *capturing; /* NULL, or what queues up in place of it */
    bool spoiled;          /* the capture */
};
struct cublasContext {
    cudaStream_t stream;
    bool workspace;
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

std::recursive_mutex turns;
CUstream_st default_stream;
thread_local int capturing; /* streams, by this thread */
int64_t replays;
std::vector<cudaStream_t> streams;
std::map<char *, size_t> pinned;
thread_local cudaError_t last_error;
int64_t launches, taken, things; /* the last: events, graphs, handles that were not destroyed */

struct {
    int64_t at, calls;
    enum cuemu_fault kind;
    const char *met;
    bool lost;
    bool kills; /* the program ends there, as by kill -9 */
} faults;

/* What CUEMU_FAIL asks for. Its file goes as it is read: who wrote it sees that it was taken. */
void read_order(void)
{
    static const char *path = getenv("CUEMU_FAIL");
    FILE *file = path == NULL ? NULL : fopen(path, "r");
    char kind[8] = "";
    long long call;

    if (file == NULL)
        return;
    if (fscanf(file, "%lld %7s", &call, kind) != 2 ||
        (strcmp(kind, "refused") != 0 && strcmp(kind, "lost") != 0 && strcmp(kind, "killed") != 0))
        abort();
    fclose(file);
    (void)unlink(path);
    faults = {call, 0,     strcmp(kind, "lost") == 0 ? CUEMU_LOST : CUEMU_REFUSED,
              NULL, false, strcmp(kind, "killed") == 0};
}

void say_counts(void)
{
    fprintf(stderr, "cuemu_counts: %lld launches, %lld graphs, %lld held\n", (long long)launches,
            (long long)replays, (long long)cuemu_held());
}

/* At the first call, when all that the program's end takes apart was made. */
void begin_program(void)
{
    static bool begun;

    if (!begun && getenv("CUEMU_COUNTS") != NULL)
        atexit(say_counts);
    begun = true;
}

/* Before anything that can fail: does it? A device that is lost takes what was queued with it. */
bool struck(const char *what)
{
    begin_program();
    read_order();
    faults.calls++;
    if (!faults.lost && faults.calls == faults.at) {
        faults.met = what;
        if (getenv("CUEMU_FAIL") != NULL)
            fprintf(stderr, "cuemu_fail: %s, call %lld\n", what, (long long)faults.calls);
        if (faults.kills)
            (void)kill(getpid(), SIGKILL);
        faults.lost = faults.kind == CUEMU_LOST;
        for (cudaStream_t stream : streams)
            if (faults.lost)
                stream->queue.clear();
        if (faults.lost)
            default_stream.queue.clear();
        return true;
    }
    return faults.lost;
}

cudaError_t fail(cudaError_t error)
{
    return last_error = faults.lost ? cudaErrorLaunchFailure : error;
}

CUstream_st *real(cudaStream_t stream)
{
    return stream == NULL ? &default_stream : stream;
}

void enqueue(cudaStream_t stream, work what)
{
    if (real(stream)->capturing != NULL)
        real(stream)->capturing->nodes.push_back(std::move(what));
    else
        real(stream)->queue.push_back(std::move(what));
}

/* What the driver refuses while a stream is captured, and what spoils a capture. */
bool free_of_capture(const char *what)
{
    if (capturing > 0)
        cuemu_report("in a capture", what, "%s while a stream is captured", what);
    return capturing == 0;
}

/* Who waits for the device as a whole is refused while any thread captures, in whatever mode, and
 * has spoiled those captures. */
bool spoils_captures(const char *what)
{
    bool any = false;

    for (cudaStream_t stream : streams) {
        stream->spoiled = stream->spoiled || stream->capturing != NULL;
        any = any || stream->capturing != NULL;
    }
    if (any)
        cuemu_report("spoiled capture", what, "%s while a stream is captured", what);
    return any;
}

void drain(CUstream_st *stream)
{
    if (stream->queue.empty())
        return;
    memory_start();
    memory_open(true);
    while (!stream->queue.empty()) {
        work next = std::move(stream->queue.front());

        stream->queue.pop_front();
        next();
    }
    memory_open(false);
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

void cuemu_fail(int64_t call, enum cuemu_fault fault)
{
    faults = {call, 0, fault, NULL, false, false};
    last_error = cudaSuccess;
}

const char *cuemu_failed(void)
{
    return faults.met;
}

int64_t cuemu_held(void)
{
    return things + (int64_t)(streams.size() + pinned.size()) + memory_held();
}

cudaError_t cudaGetDeviceCount(int *count)
{
    TAKE_TURN;
    if (pretend.devices < 0 || struck("cudaGetDeviceCount"))
        return fail(cudaErrorInsufficientDriver);
    *count = pretend.devices;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device)
{
    TAKE_TURN;
    memset(properties, 0, sizeof *properties);
    if (device != 0 || struck("cudaGetDeviceProperties"))
        return fail(cudaErrorInvalidValue);
    snprintf(properties->name, sizeof properties->name, "an emulated GPU");
    properties->major = pretend.major;
    properties->minor = pretend.minor;
    return cudaSuccess;
}

/* Round numbers: nobody is to take a floor made of them for that of a device. */
cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr what, int device)
{
    TAKE_TURN;
    if (device != 0 || struck("cudaDeviceGetAttribute"))
        return fail(cudaErrorInvalidValue);
    *value = what == cudaDevAttrMultiProcessorCount    ? 1
             : what == cudaDevAttrGlobalMemoryBusWidth ? 64
                                                       : 1000000;
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = 13000;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = 13000;
    return cudaSuccess;
}

cudaError_t cudaGetLastError(void)
{
    TAKE_TURN;
    cudaError_t error = faults.lost ? cudaErrorLaunchFailure : last_error;

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
    case cudaErrorLaunchFailure:
        return "unspecified launch failure";
    case cudaErrorStreamCaptureUnsupported:
        return "operation not permitted when stream is capturing";
    case cudaErrorInsufficientDriver:
        return "CUDA driver version is insufficient for CUDA runtime version";
    default:
        return "invalid argument";
    }
}

cudaError_t cudaMalloc(void **at, size_t bytes)
{
    TAKE_TURN;
    memory_start();
    taken++;
    if (!free_of_capture("cudaMalloc"))
        return fail(cudaErrorStreamCaptureUnsupported);
    if (struck("cudaMalloc"))
        return fail(cudaErrorMemoryAllocation);
    *at = bytes == 0 ? NULL : memory_allocate(bytes);
    return bytes > 0 && *at == NULL ? fail(cudaErrorMemoryAllocation) : cudaSuccess;
}

cudaError_t cudaFree(void *at)
{
    TAKE_TURN;
    if (at == NULL)
        return cudaSuccess;
    (void)free_of_capture("cudaFree");
    drain_all();
    if (memory_free(at))
        return faults.lost ? fail(cudaErrorLaunchFailure) : cudaSuccess;
    cuemu_report("bad free", NULL, "%p was not allocated, or is freed twice", at);
    return fail(cudaErrorInvalidValue);
}

cudaError_t cudaMallocHost(void **at, size_t bytes)
{
    TAKE_TURN;
    taken++;
    if (struck("cudaMallocHost"))
        return fail(cudaErrorMemoryAllocation);
    *at = calloc(1, bytes);
    memset(*at, 0xff, bytes);
    pinned[(char *)*at] = bytes;
    return cudaSuccess;
}

cudaError_t cudaFreeHost(void *at)
{
    TAKE_TURN;
    if (at == NULL)
        return cudaSuccess;
    drain_all();
    pinned.erase((char *)at);
    free(at);
    return cudaSuccess;
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind)
{
    TAKE_TURN;
    memory_start();
    drain(&default_stream);
    if (bytes == 0)
        return cudaSuccess;
    if (struck("cudaMemcpy") || !right_kind(to, from, kind))
        return fail(cudaErrorInvalidValue);
    copy(to, from, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    TAKE_TURN;
    memory_start();
    if (bytes == 0)
        return cudaSuccess;
    if (struck("cudaMemcpyAsync") || !right_kind(to, from, kind))
        return fail(cudaErrorInvalidValue);
    if (!memory_is_device(from) && !is_pinned(from)) {
        /* Pageable memory is staged before the call returns. */
        std::vector<char> staged((const char *)from, (const char *)from + bytes);

        (void)(real(stream)->capturing == NULL || free_of_capture("a copy of pageable memory"));
        enqueue(stream, [=] { copy(to, staged.data(), bytes); });
    } else {
        enqueue(stream, [=] { copy(to, from, bytes); });
    }
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *at, int value, size_t bytes, cudaStream_t stream)
{
    TAKE_TURN;
    if (bytes == 0)
        return cudaSuccess;
    if (struck("cudaMemsetAsync"))
        return fail(cudaErrorInvalidValue);
    enqueue(stream, [=] {
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
    TAKE_TURN;
    (void)flags;
    if (struck("cudaStreamCreateWithFlags"))
        return fail(cudaErrorMemoryAllocation);
    *stream = new CUstream_st();
    streams.push_back(*stream);
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    TAKE_TURN;
    drain(stream);
    for (size_t i = 0; i < streams.size(); i++)
        if (streams[i] == stream)
            streams.erase(streams.begin() + (ptrdiff_t)i);
    delete stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    TAKE_TURN;
    if (real(stream)->capturing != NULL && !free_of_capture("cudaStreamSynchronize"))
        return fail(cudaErrorStreamCaptureUnsupported);
    bool failed = struck("cudaStreamSynchronize"); /* what it tells of has been, all the same */
    drain(real(stream));
    return failed ? fail(cudaErrorInvalidValue) : last_error;
}

cudaError_t cudaDeviceSynchronize(void)
{
    TAKE_TURN;
    bool failed = struck("cudaDeviceSynchronize");

    if (spoils_captures("cudaDeviceSynchronize"))
        return fail(cudaErrorStreamCaptureUnsupported);
    drain_all();
    return failed ? fail(cudaErrorInvalidValue) : last_error;
}

/* How many threads a block of it may have: the bytes of nops in front (kernel_language.h), as
 * compilers write them: 90, or 0f 1f with a form of address, behind prefixes. 0: nothing is said.
 */
static uint64_t launch_bound(const void *code)
{
    const unsigned char *first = (const unsigned char *)code, *at = first;

    for (;;) {
        const unsigned char *nop = at;

        while (*nop == 0x66 || *nop == 0x2e)
            nop++;
        if (*nop == 0x90)
            at = nop + 1;
        else if (nop[0] == 0x0f && nop[1] == 0x1f)
            at = nop + 3 + ((nop[2] & 7) == 4) + (nop[2] >> 6 == 1 ? 1 : nop[2] >> 6 == 2 ? 4 : 0);
        else
            return (uint64_t)(at - first);
    }
}

static bool launchable(const char *name, dim3 grid, dim3 block, size_t shared_bytes)
{
    uint64_t threads = (uint64_t)block.x * block.y * block.z;

    if (threads > 0 && threads <= BLOCK_THREADS_MAX && block.z <= 64 && grid.x > 0 && grid.y > 0 &&
        grid.z > 0 && grid.x <= 0x7fffffffu && grid.y <= 65535 && grid.z <= 65535 &&
        shared_bytes <= SHARED_BYTES_MAX)
        return true;
    cuemu_report("launch refused", name, "%s: grid (%u,%u,%u), block (%u,%u,%u), %zu bytes shared",
                 name, grid.x, grid.y, grid.z, block.x, block.y, block.z, shared_bytes);
    return false;
}

void cuemu_launch(const struct cuemu_kernel *kernel, dim3 grid, dim3 block, size_t shared_bytes,
                  cudaStream_t stream)
{
    TAKE_TURN;
    uint64_t threads = (uint64_t)block.x * block.y * block.z, bound = launch_bound(kernel->code);
    launch what = {kernel->name,         grid, block, shared_bytes, kernel->run, kernel->packed,
                   kernel->packed_bytes, NULL};
    void (*drop)(void *) = kernel->drop;

    memory_start();
    if (struck(kernel->name)) {
        drop(kernel->packed);
        (void)fail(cudaErrorInvalidConfiguration);
        return;
    }
    if (ptx_wanted()) {
        ptx_launch(&what, *kernel);
        kernel->drop(kernel->packed);
        drop = ptx_drop;
        bound = (uint64_t)what.ptx->threads_max;
    }
    if (!launchable(kernel->name, grid, block,
                    shared_bytes + (what.ptx == NULL ? 0 : what.ptx->shared_bytes))) {
        drop(what.arguments);
        (void)fail(cudaErrorInvalidConfiguration);
        return;
    }
    if (threads > bound) {
        cuemu_report("launch bounds", kernel->name, "%s: %u threads a block, declared for %u",
                     kernel->name, (unsigned)threads, (unsigned)bound);
        drop(what.arguments);
        (void)fail(cudaErrorInvalidValue);
        return;
    }
    if (threads % WARP != 0)
        cuemu_report("part of a warp", kernel->name, "%s: %u threads a block", kernel->name,
                     (unsigned)threads);
    std::shared_ptr<void> kept(what.arguments, drop); /* a graph runs it again */
    enqueue(stream, [what, kept] {
        launches++;
        if (!pretend.idle)
            fibers_run_grid(what);
    });
}

/* ---- events: what a clock would say of an emulator says nothing, so it is 0 ---- */

struct CUevent_st {
    cudaStream_t stream;
    bool recorded;
    std::shared_ptr<bool> done; /* of the last record: the stream has got there */
};

cudaError_t cudaEventCreate(cudaEvent_t *event)
{
    TAKE_TURN;
    if (struck("cudaEventCreate"))
        return fail(cudaErrorMemoryAllocation);
    things++;
    *event = new CUevent_st{NULL, false, NULL};
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    TAKE_TURN;
    things--;
    delete event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    TAKE_TURN;
    if (struck("cudaEventRecord"))
        return fail(cudaErrorInvalidValue);
    std::shared_ptr<bool> done = std::make_shared<bool>(false);

    event->stream = stream;
    event->recorded = true;
    event->done = done;
    enqueue(stream, [done] { *done = true; });
    return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    TAKE_TURN;
    bool failed = struck("cudaEventSynchronize");

    drain(real(event->stream));
    return failed ? fail(cudaErrorInvalidValue) : last_error;
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to)
{
    TAKE_TURN;
    *ms = 0;
    if (struck("cudaEventElapsedTime") || !from->recorded || !to->recorded)
        return fail(cudaErrorInvalidResourceHandle);
    return *from->done && *to->done ? cudaSuccess : fail(cudaErrorNotReady);
}

/* ---- graphs: what was queued on a stream, kept ---- */

int64_t cuemu_replays(void)
{
    return replays;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode)
{
    TAKE_TURN;
    (void)mode;
    if (stream == NULL || stream->capturing != NULL || pretend.idle ||
        struck("cudaStreamBeginCapture"))
        return fail(cudaErrorStreamCaptureUnsupported);
    stream->capturing = new CUgraph_st;
    stream->spoiled = false;
    things++;
    capturing++;
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph)
{
    TAKE_TURN;
    *graph = stream->capturing;
    if (stream->capturing == NULL)
        return fail(cudaErrorInvalidValue);
    stream->capturing = NULL;
    capturing--;
    if (!struck("cudaStreamEndCapture") && !stream->spoiled)
        return cudaSuccess;
    (void)cudaGraphDestroy(*graph); /* a capture that fails ends all the same */
    *graph = NULL;
    return fail(cudaErrorStreamCaptureUnsupported);
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *made, cudaGraph_t graph, unsigned long long flags)
{
    TAKE_TURN;
    (void)flags;
    if (struck("cudaGraphInstantiate"))
        return fail(cudaErrorMemoryAllocation);
    things++;
    *made = new CUgraphExec_st{graph->nodes};
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t stream)
{
    TAKE_TURN;
    if (struck("cudaGraphLaunch"))
        return fail(cudaErrorInvalidValue);
    replays++;
    for (const work &node : graph->nodes)
        enqueue(stream, node);
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    TAKE_TURN;
    things--;
    delete graph;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph)
{
    TAKE_TURN;
    things--;
    delete graph;
    return cudaSuccess;
}

/* ---- cuBLAS: column by column in double, with its rules about leading dimensions ---- */

cublasStatus_t cublasCreate_v2(cublasHandle_t *handle)
{
    TAKE_TURN;
    if (struck("cublasCreate"))
        return CUBLAS_STATUS_NOT_INITIALIZED;
    things++;
    *handle = new cublasContext{NULL, false};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDestroy_v2(cublasHandle_t handle)
{
    TAKE_TURN;
    things--;
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, cudaStream_t stream)
{
    TAKE_TURN;
    if (struck("cublasSetStream"))
        return CUBLAS_STATUS_NOT_INITIALIZED;
    handle->stream = stream;
    handle->workspace = false; /* NVIDIA's goes back to its own with a stream */
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t handle, void *at, size_t bytes)
{
    TAKE_TURN;
    if (struck("cublasSetWorkspace") || (uintptr_t)at % 256 != 0 ||
        !memory_check(at, bytes, false, "cublasSetWorkspace"))
        return CUBLAS_STATUS_INVALID_VALUE;
    handle->workspace = true;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode)
{
    TAKE_TURN;
    (void)handle;
    (void)mode;
    return struck("cublasSetMathMode") ? CUBLAS_STATUS_NOT_INITIALIZED : CUBLAS_STATUS_SUCCESS;
}

namespace
{
/* A matrix of either type, column by column. */
struct matrix {
    char *at;
    cudaDataType type;
    int pitch;

    size_t bytes() const
    {
        return type == CUDA_R_16BF ? 2 : 4;
    }
    char *place(int row, int column) const
    {
        return at + ((ptrdiff_t)column * pitch + row) * (ptrdiff_t)bytes();
    }
    float get(int row, int column) const
    {
        uint32_t bits = 0;
        float value;

        memcpy(type == CUDA_R_16BF ? (char *)&bits + 2 : (char *)&bits, place(row, column),
               bytes());
        memcpy(&value, &bits, sizeof value);
        return value;
    }
    void set(int row, int column, float value) const
    {
        uint32_t bits;

        memcpy(&bits, &value, sizeof bits);
        if (type == CUDA_R_16BF) /* to the nearest, of two the even one */
            bits = value != value ? bits | 0x400000 : bits + 0x7fff + (bits >> 16 & 1);
        memcpy(place(row, column), type == CUDA_R_16BF ? (char *)&bits + 2 : (char *)&bits,
               bytes());
        memory_defined(place(row, column), bytes());
    }
    /* Columns may lie apart: each is checked for itself. */
    bool there(int rows, int columns, bool read) const
    {
        for (int j = 0; j < columns; j++)
            if (!memory_check(place(0, j), (size_t)rows * bytes(), read, "cuBLAS"))
                return false;
        return true;
    }
};

/* alpha and beta are read now, as in the host's pointer mode. */
cublasStatus_t product(cublasHandle_t handle, cublasOperation_t op_a, cublasOperation_t op_b, int m,
                       int n, int k, float by, matrix a, matrix b, float keep, matrix c)
{
    TAKE_TURN;
    int a_rows = op_a == CUBLAS_OP_N ? m : k, a_columns = op_a == CUBLAS_OP_N ? k : m;
    int b_rows = op_b == CUBLAS_OP_N ? k : n, b_columns = op_b == CUBLAS_OP_N ? n : k;

    if (handle == NULL || struck("a product of cuBLAS"))
        return CUBLAS_STATUS_NOT_INITIALIZED;
    if (m < 0 || n < 0 || k < 0 || a.pitch < std::max(1, a_rows) || b.pitch < std::max(1, b_rows) ||
        c.pitch < std::max(1, m)) {
        cuemu_report("cuBLAS refused", NULL, "m=%d n=%d k=%d lda=%d ldb=%d ldc=%d", m, n, k,
                     a.pitch, b.pitch, c.pitch);
        return CUBLAS_STATUS_INVALID_VALUE;
    }
    if (real(handle->stream)->capturing != NULL && !handle->workspace)
        (void)free_of_capture("cuBLAS without a workspace of its own");
    enqueue(handle->stream, [=] {
        if (!a.there(a_rows, a_columns, true) || !b.there(b_rows, b_columns, true) ||
            !c.there(m, n, keep != 0))
            return;
        std::vector<float> rows((size_t)m * (size_t)k), columns((size_t)k * (size_t)n);

        memory_open(true);
        for (int i = 0; i < m; i++)
            for (int l = 0; l < k; l++)
                rows[(size_t)i * k + l] = op_a == CUBLAS_OP_N ? a.get(i, l) : a.get(l, i);
        for (int j = 0; j < n; j++)
            for (int l = 0; l < k; l++)
                columns[(size_t)j * k + l] = op_b == CUBLAS_OP_N ? b.get(l, j) : b.get(j, l);
        for (int j = 0; j < n; j++) {
            for (int i = 0; i < m; i++) {
                double sum = 0;

                for (int l = 0; l < k; l++)
                    sum += (double)rows[(size_t)i * k + l] * (double)columns[(size_t)j * k + l];
                c.set(i, j, by * (float)sum + (keep != 0 ? keep * c.get(i, j) : 0));
            }
        }
        memory_open(false);
    });
    return CUBLAS_STATUS_SUCCESS;
}
} /* namespace */

cublasStatus_t cublasSgemm_v2(cublasHandle_t handle, cublasOperation_t op_a, cublasOperation_t op_b,
                              int m, int n, int k, const float *alpha, const float *a, int lda,
                              const float *b, int ldb, const float *beta, float *c, int ldc)
{
    return product(handle, op_a, op_b, m, n, k, *alpha, {(char *)a, CUDA_R_32F, lda},
                   {(char *)b, CUDA_R_32F, ldb}, *beta, {(char *)c, CUDA_R_32F, ldc});
}

/* Both factors of one type, sums in f32: what this product asks for. */
cublasStatus_t cublasGemmEx(cublasHandle_t handle, cublasOperation_t op_a, cublasOperation_t op_b,
                            int m, int n, int k, const void *alpha, const void *a,
                            cudaDataType a_type, int lda, const void *b, cudaDataType b_type,
                            int ldb, const void *beta, void *c, cudaDataType c_type, int ldc,
                            cublasComputeType_t compute, cublasGemmAlgo_t algorithm)
{
    (void)algorithm;
    if (a_type != b_type || compute != CUBLAS_COMPUTE_32F ||
        (a_type == CUDA_R_32F && c_type != CUDA_R_32F) ||
        (a_type == CUDA_R_16BF && pretend.major < 8)) {
        cuemu_report("cuBLAS refused", NULL, "types %d %d %d", (int)a_type, (int)b_type,
                     (int)c_type);
        return CUBLAS_STATUS_NOT_SUPPORTED;
    }
    return product(handle, op_a, op_b, m, n, k, *(const float *)alpha, {(char *)a, a_type, lda},
                   {(char *)b, b_type, ldb}, *(const float *)beta, {(char *)c, c_type, ldc});
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
                 {"cublasSetWorkspace_v2", (void *)cublasSetWorkspace_v2},
                 {"cublasSgemm_v2", (void *)cublasSgemm_v2},
                 {"cublasGemmEx", (void *)cublasGemmEx}};

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
