/*
 * kernels/cuda/blas.h - matrix products by cuBLAS, found at run time.
 *
 * Flow: norm -> [product] -> after
 *
 * Never linked: a program linked with cuBLAS dies in the loader where it is missing. It is opened
 * after a device was found, and stays open.
 */
#ifndef KERNELS_CUDA_BLAS_H
#define KERNELS_CUDA_BLAS_H

#include "ops/status.h"

#include <cublas_v2.h>
#include <cuda_runtime.h>

#include <stdint.h>

/* Opens the library; later calls do nothing. Errors: ERR_DEVICE. Thread: one, before others. */
MUST_CHECK enum status blas_open(struct error *err);

/* One handle a stream. Errors: ERR_DEVICE. */
MUST_CHECK enum status blas_create(cublasHandle_t *blas, cudaStream_t stream, struct error *err);
void blas_destroy(cublasHandle_t blas); /* NULL is fine */

/* Memory of the device that cuBLAS works in from here on, 256-byte aligned; it must outlive the
 * handle. Without it cuBLAS allocates, which a capture does not take. Errors: ERR_DEVICE. */
MUST_CHECK enum status blas_workspace(cublasHandle_t blas, void *at, size_t bytes,
                                      struct error *err);

/**
 * out (R, N) = x (R, K) w (K, N), or += it; all row-major, rows that many floats apart.
 *
 * R may be 0. Queued on the handle's stream; f32 throughout, never TF32.
 * A row's last bits may depend on R: cuBLAS picks its algorithm by shape.
 * Errors: ERR_DEVICE.
 */
struct blas_matrix {
    const float *at;
    int32_t pitch;
};
MUST_CHECK enum status blas_product(cublasHandle_t blas, float *out, int32_t out_pitch,
                                    struct blas_matrix x, struct blas_matrix w, int32_t R,
                                    int32_t K, int32_t N, int add, struct error *err);

/* The same of x, w or both as they lie turned over: x (K, R), w (N, K). With K 0 a sum of nothing:
 * out is set to 0, or left. */
enum blas_form { BLAS_AS_IT_IS, BLAS_TRANSPOSED };
MUST_CHECK enum status blas_product_of(cublasHandle_t blas, float *out, int32_t out_pitch,
                                       struct blas_matrix x, enum blas_form x_form,
                                       struct blas_matrix w, enum blas_form w_form, int32_t R,
                                       int32_t K, int32_t N, int add, struct error *err);

/* Products of bf16 numbers (their bits), added up in f32; out is f32, or where out_half bf16, too.
 * The device has compute capability 8.0 or more. */
struct blas_half {
    const uint16_t *at;
    int32_t pitch;
};
MUST_CHECK enum status blas_product_half(cublasHandle_t blas, void *out, int32_t out_pitch,
                                         int out_half, struct blas_half x, struct blas_half w,
                                         int32_t R, int32_t K, int32_t N, int add,
                                         struct error *err);
MUST_CHECK enum status blas_product_half_of(cublasHandle_t blas, void *out, int32_t out_pitch,
                                            int out_half, struct blas_half x, enum blas_form x_form,
                                            struct blas_half w, enum blas_form w_form, int32_t R,
                                            int32_t K, int32_t N, int add, struct error *err);

#endif
