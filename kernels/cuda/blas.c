/* kernels/cuda/blas.c - the functions of cuBLAS we use, by name and with checked types. */
#include "kernels/cuda/blas.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* The header's own macros turn cublasCreate into cublasCreate_v2, so the name we look up and the
 * type we call it by are those of one function. */
#define NAME_OF_(name) #name
#define NAME_OF(name)  NAME_OF_(name)
#define BLAS_LIST(X)                                                                               \
    X(create, cublasCreate)                                                                        \
    X(destroy, cublasDestroy)                                                                      \
    X(set_stream, cublasSetStream)                                                                 \
    X(set_workspace, cublasSetWorkspace)                                                           \
    X(set_math, cublasSetMathMode)                                                                 \
    X(sgemm, cublasSgemm)                                                                          \
    X(gemm_ex, cublasGemmEx)

static struct {
    bool open;
#define X(field, function) __typeof__(&function) field;
    BLAS_LIST(X)
#undef X
} blas_table;

/* A later cuBLAS may change a signature under the same name: then this must not compile. */
_Static_assert(_Generic(&cublasSgemm,
                        cublasStatus_t (*)(cublasHandle_t, cublasOperation_t, cublasOperation_t,
                                           int, int, int, const float *, const float *, int,
                                           const float *, int, const float *, float *, int) : 1,
                        default : 0),
               "cublasSgemm has another signature");
_Static_assert(_Generic(&cublasGemmEx,
                        cublasStatus_t (*)(cublasHandle_t, cublasOperation_t, cublasOperation_t,
                                           int, int, int, const void *, const void *, cudaDataType,
                                           int, const void *, cudaDataType, int, const void *,
                                           void *, cudaDataType, int, cublasComputeType_t,
                                           cublasGemmAlgo_t) : 1,
                        default : 0),
               "cublasGemmEx has another signature");
_Static_assert(_Generic(&cublasCreate, cublasStatus_t (*)(cublasHandle_t *) : 1, default : 0) &&
                   _Generic(&cublasDestroy, cublasStatus_t (*)(cublasHandle_t) : 1, default : 0) &&
                   _Generic(&cublasSetStream, cublasStatus_t (*)(cublasHandle_t, cudaStream_t) : 1,
                            default : 0) &&
                   _Generic(&cublasSetMathMode,
                            cublasStatus_t (*)(cublasHandle_t, cublasMath_t) : 1, default : 0) &&
                   _Generic(&cublasSetWorkspace,
                            cublasStatus_t (*)(cublasHandle_t, void *, size_t) : 1, default : 0),
               "a function of cuBLAS has another signature");

static enum status failed(const char *what, cublasStatus_t status, struct error *err)
{
    return error_set(err, ERR_DEVICE, "%s failed with cuBLAS status %d", what, (int)status);
}

enum status blas_open(struct error *err)
{
    char name[32];
    void *library;

    if (blas_table.open)
        return OK;
    (void)snprintf(name, sizeof name, "libcublas.so.%d", CUBLAS_VER_MAJOR);
    library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        return error_set(err, ERR_DEVICE, "could not load %s", name);
#define X(field, function)                                                                         \
    blas_table.field = (__typeof__(&function))dlsym(library, NAME_OF(function));                   \
    if (blas_table.field == NULL) {                                                                \
        (void)dlclose(library);                                                                    \
        return error_set(err, ERR_DEVICE, "%s has no %s", name, NAME_OF(function));                \
    }
    BLAS_LIST(X)
#undef X
    blas_table.open = true;
    return OK;
}

enum status blas_create(cublasHandle_t *blas, cudaStream_t stream, struct error *err)
{
    cublasHandle_t made = NULL;
    cublasStatus_t status = blas_table.create(&made);

    *blas = NULL;
    if (status != CUBLAS_STATUS_SUCCESS)
        return failed("cublasCreate", status, err);
    status = blas_table.set_stream(made, stream);
    /* The environment can turn TF32 on for everyone; scores must agree with the CPU's. */
    if (status == CUBLAS_STATUS_SUCCESS)
        status = blas_table.set_math(made, CUBLAS_PEDANTIC_MATH);
    if (status != CUBLAS_STATUS_SUCCESS) {
        blas_destroy(made);
        return failed("cublasSetStream", status, err);
    }
    *blas = made;
    return OK;
}

enum status blas_workspace(cublasHandle_t blas, void *at, size_t bytes, struct error *err)
{
    cublasStatus_t status = blas_table.set_workspace(blas, at, bytes);

    return status == CUBLAS_STATUS_SUCCESS ? OK : failed("cublasSetWorkspace", status, err);
}

void blas_destroy(cublasHandle_t blas)
{
    if (blas != NULL)
        (void)blas_table.destroy(blas);
}

static cublasOperation_t operation_of(enum blas_form form)
{
    return form == BLAS_TRANSPOSED ? CUBLAS_OP_T : CUBLAS_OP_N;
}

/* cuBLAS counts by columns: what we call a row-major matrix is its transpose to it, and so the
 * product of ours is w' x' of its. */
enum status blas_product_of(cublasHandle_t blas, float *out, int32_t out_pitch,
                            struct blas_matrix x, enum blas_form x_form, struct blas_matrix w,
                            enum blas_form w_form, int32_t R, int32_t K, int32_t N, int add,
                            struct error *err)
{
    const float one = 1, keep = add ? 1 : 0;
    cublasStatus_t status;

    if (R == 0)
        return OK;
    status = blas_table.sgemm(blas, operation_of(w_form), operation_of(x_form), N, R, K, &one, w.at,
                              w.pitch, x.at, x.pitch, &keep, out, out_pitch);
    return status == CUBLAS_STATUS_SUCCESS ? OK : failed("cublasSgemm", status, err);
}

enum status blas_product(cublasHandle_t blas, float *out, int32_t out_pitch, struct blas_matrix x,
                         struct blas_matrix w, int32_t R, int32_t K, int32_t N, int add,
                         struct error *err)
{
    return blas_product_of(blas, out, out_pitch, x, BLAS_AS_IT_IS, w, BLAS_AS_IT_IS, R, K, N, add,
                           err);
}

/* The handle is pedantic for products of f32; bf16 is multiplied by tensor cores, which must not
 * add up in anything narrower than f32 either. */
enum status blas_product_half_of(cublasHandle_t blas, void *out, int32_t out_pitch, int out_half,
                                 struct blas_half x, enum blas_form x_form, struct blas_half w,
                                 enum blas_form w_form, int32_t R, int32_t K, int32_t N, int add,
                                 struct error *err)
{
    const float one = 1, keep = add ? 1 : 0;
    cublasStatus_t status, restored;

    if (R == 0)
        return OK;
    status = blas_table.set_math(blas, CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = blas_table.gemm_ex(blas, operation_of(w_form), operation_of(x_form), N, R, K, &one,
                                    w.at, CUDA_R_16BF, w.pitch, x.at, CUDA_R_16BF, x.pitch, &keep,
                                    out, out_half ? CUDA_R_16BF : CUDA_R_32F, out_pitch,
                                    CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT);
    restored = blas_table.set_math(blas, CUBLAS_PEDANTIC_MATH);
    status = status == CUBLAS_STATUS_SUCCESS ? restored : status;
    return status == CUBLAS_STATUS_SUCCESS ? OK : failed("cublasGemmEx", status, err);
}

enum status blas_product_half(cublasHandle_t blas, void *out, int32_t out_pitch, int out_half,
                              struct blas_half x, struct blas_half w, int32_t R, int32_t K,
                              int32_t N, int add, struct error *err)
{
    return blas_product_half_of(blas, out, out_pitch, out_half, x, BLAS_AS_IT_IS, w, BLAS_AS_IT_IS,
                                R, K, N, add, err);
}
