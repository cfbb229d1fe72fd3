// Matrix products without a library: what stands in for cuBLAS where it is not there, so that everything but the speed of
// products can be checked and trained with the driver alone. The sums are f32, over k in ascending order.
#include "common.cuh"

// Rows and columns of a block's part of the result, and terms of a step; a thread has 4 x 4 results.
constexpr u32 PRODUCT_SIDE = 64;
constexpr u32 PRODUCT_STEP = 16;
// Floats from one row of a tile to the next: 4 more than it has, so that the writes of a warp are in several banks.
constexpr u32 PRODUCT_ROW = PRODUCT_SIDE + 4;

// A matrix that is read: element (row, column) is at row * by_row + column * by_column, one of which is 1.
template <class E> struct Strided {
    const E* elements;
    u64 by_row, by_column;
};

// Loads rows `row`.. and terms `term`.. of a matrix (rows, terms) as (PRODUCT_STEP, PRODUCT_SIDE); zeros outside of it.
template <class E>
__device__ __forceinline__ void load_terms(float* tile, Strided<E> from, u32 row, u32 rows, u32 term, u32 terms) {
    const bool terms_are_adjacent = from.by_column == 1;
#pragma unroll
    for (u32 i = 0; i < PRODUCT_SIDE * PRODUCT_STEP / 256; i++) {
        const u32 index = i * 256 + threadIdx.x;
        const u32 r = terms_are_adjacent ? index / PRODUCT_STEP : index % PRODUCT_SIDE;
        const u32 t = terms_are_adjacent ? index % PRODUCT_STEP : index / PRODUCT_SIDE;
        const bool there = row + r < rows && term + t < terms;
        const u64 at = (row + r) * from.by_row + (term + t) * from.by_column;
        tile[t * PRODUCT_ROW + r] = there ? to_float(from.elements[at]) : 0.0f;
    }
}

template <class E, class C>
__device__ __forceinline__ void product(C* out, u64 out_row, Strided<E> a, Strided<E> b, u32 m, u32 n, u32 k,
                                        u32 adds) {
    float* left = reinterpret_cast<float*>(shared_memory());                       // (PRODUCT_STEP, PRODUCT_ROW)
    float* right = left + PRODUCT_STEP * PRODUCT_ROW;                              // (PRODUCT_STEP, PRODUCT_ROW)
    const u32 row = blockIdx.y * PRODUCT_SIDE, column = blockIdx.x * PRODUCT_SIDE;
    const u32 thread_row = threadIdx.x / 16 * 4, thread_column = threadIdx.x % 16 * 4;
    float sums[4][4] = {};
    for (u32 term = 0; term < k; term += PRODUCT_STEP) {
        load_terms(left, a, row, m, term, k);
        load_terms(right, b, column, n, term, k);
        __syncthreads();
#pragma unroll
        for (u32 t = 0; t < PRODUCT_STEP; t++) {
            float x[4], y[4];
            load_floats(x, left + t * PRODUCT_ROW + thread_row);
            load_floats(y, right + t * PRODUCT_ROW + thread_column);
#pragma unroll
            for (u32 i = 0; i < 4; i++) {
#pragma unroll
                for (u32 j = 0; j < 4; j++) sums[i][j] = multiply_add(x[i], y[j], sums[i][j]);
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (u32 i = 0; i < 4; i++) {
#pragma unroll
        for (u32 j = 0; j < 4; j++) {
            const u32 r = row + thread_row + i, c = column + thread_column + j;
            if (r >= m || c >= n) continue;
            C* at = out + r * out_row + c;
            *at = from_float<C>(adds ? to_float(*at) + sums[i][j] : sums[i][j]);
        }
    }
}

// out (M, N), rows `out_row` apart, = a (M, K) b (K, N), or is added to where `adds` is 1. Shared: 2 x 16 x 68 floats.
KERNEL(256, product_f32, float* __restrict__ out, const float* __restrict__ a, const float* __restrict__ b, u64 out_row,
       u64 a_row, u64 a_column, u64 b_row, u64 b_column, u32 m, u32 n, u32 k, u32 adds) {
    product<float, float>(out, out_row, {a, a_row, a_column}, {b, b_column, b_row}, m, n, k, adds);
}

KERNEL(256, product_bf16, bf16* __restrict__ out, const bf16* __restrict__ a, const bf16* __restrict__ b, u64 out_row,
       u64 a_row, u64 a_column, u64 b_row, u64 b_column, u32 m, u32 n, u32 k, u32 adds) {
    product<bf16, bf16>(out, out_row, {a, a_row, a_column}, {b, b_column, b_row}, m, n, k, adds);
}

KERNEL(256, product_bf16_f32, float* __restrict__ out, const bf16* __restrict__ a, const bf16* __restrict__ b,
       u64 out_row, u64 a_row, u64 a_column, u64 b_row, u64 b_column, u32 m, u32 n, u32 k, u32 adds) {
    product<bf16, float>(out, out_row, {a, a_row, a_column}, {b, b_column, b_row}, m, n, k, adds);
}
