// Tiles of bf16 in shared memory and the tensor core's products of them, for the attention kernels with D = 64.
//
// A row of a tile has 64 elements: 128 bytes, eight pieces of 16. Piece p of row r is stored at p ^ (r % 8), so that
// eight rows of one piece, which an ldmatrix reads, are in all 32 banks. Fragments are those of the PTX ISA,
// "Matrix Fragments for mma.m16n8k16 with floating point type" and "ldmatrix": with g = lane / 4 and t = lane % 4,
// A (16, 16): registers 0..3 contain rows g, g+8, g, g+8 at columns 2t, 2t, 2t+8, 2t+8 (and the next column);
// B (16, 8): registers 0, 1 contain rows 2t, 2t+8 (and the next row) of column g;
// C (16, 8): elements 0, 1 are row g at columns 2t, 2t+1; elements 2, 3 those of row g+8.
#pragma once
#include "common.cuh"

constexpr u32 HEAD = 64;

#ifdef __CUDACC__
__device__ __forceinline__ u32 shared_address(const void* at) {
    return static_cast<u32>(__cvta_generic_to_shared(at));
}

// Loads four 8 x 8 matrices; lane l gives the address of row l % 8 of matrix l / 8.
__device__ __forceinline__ void ldmatrix(u32 (&to)[4], const bf16* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_address(row))
                 : "memory");
}

__device__ __forceinline__ void ldmatrix_transposed(u32 (&to)[4], const bf16* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// c (16, 8) += a (16, 16) b (16, 8).
__device__ __forceinline__ void mma(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Copies 16 (or 4) bytes to shared memory asynchronously; zeros unless `there`.
__device__ __forceinline__ void copy_16_async(void* to, const void* from, bool there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
                 "r"(there ? 16 : 0)
                 : "memory");
}

__device__ __forceinline__ void copy_4_async(void* to, const void* from, bool there) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to)), "l"(from),
                 "r"(there ? 4 : 0)
                 : "memory");
}

// Waits for this thread's copies; before those of other threads are read, a barrier must follow.
__device__ __forceinline__ void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }
#endif

// The index of element 8 `piece` of a tile's row.
__device__ __forceinline__ u32 tile_place(u32 row, u32 piece) { return row * HEAD + ((piece ^ (row % 8)) * 8); }

// The same for piece 2 `step` + `odd` of row `first` + `row`, `first` a multiple of 8. What depends on the lane is
// separate from what is constant in unrolled loops, so that few addresses need registers.
__device__ __forceinline__ u32 lane_place(u32 first, u32 row, u32 step, u32 odd) {
    return first * HEAD + ((row * HEAD + ((odd ^ (row % 8)) * 8)) ^ (16 * step));
}

// Loads A (16, 16): rows from `row` on and columns from 16 `step` on.
__device__ __forceinline__ void load_a(u32 (&a)[4], const bf16* tile, u32 row, u32 step) {
    const u32 lane = threadIdx.x % 32;
    ldmatrix(a, tile + lane_place(row, lane % 16, step, lane / 16));
}

// Loads two B (16, 8) from a tile in which they are transposed: their columns are the tile's rows, 16 from `row` on, and
// their rows are its columns from 16 `step` on. b[0], b[1] are the first eight columns.
__device__ __forceinline__ void load_b_from_rows(u32 (&b)[4], const bf16* tile, u32 row, u32 step) {
    const u32 lane = threadIdx.x % 32;
    ldmatrix(b, tile + lane_place(row, lane % 8 + lane / 16 * 8, step, lane / 8 % 2));
}

// Loads two B (16, 8) as they are in a tile: rows from `row` on, columns from 16 `step` on.
__device__ __forceinline__ void load_b(u32 (&b)[4], const bf16* tile, u32 row, u32 step) {
    const u32 lane = threadIdx.x % 32;
    ldmatrix_transposed(b, tile + lane_place(row, lane % 16, step, lane / 16));
}

// Clears a warp's results of 32 rows and 8 N columns: C (16, 8) of the upper and the lower 16 rows.
template <int N> __device__ __forceinline__ void clear(float (&result)[2][N][4]) {
#pragma unroll
    for (u32 m = 0; m < 2; m++) {
#pragma unroll
        for (u32 n = 0; n < N; n++) {
#pragma unroll
            for (u32 i = 0; i < 4; i++) result[m][n][i] = 0.0f;
        }
    }
}

// Masks the scores of keys after their query. `row` and `column` are the first of the result.
template <bool ROWS_ARE_KEYS, int N>
__device__ __forceinline__ void mask_causal(float (&scores)[2][N][4], u32 row, u32 column) {
    const u32 lane = threadIdx.x % 32;
    row += lane / 4;
    column += lane % 4 * 2;
#pragma unroll
    for (u32 m = 0; m < 2; m++) {
#pragma unroll
        for (u32 n = 0; n < N; n++) {
#pragma unroll
            for (u32 i = 0; i < 4; i++) {
                const u32 this_row = row + 16 * m + i / 2 * 8, this_column = column + 8 * n + i % 2;
                const bool visible = ROWS_ARE_KEYS ? this_row <= this_column : this_column <= this_row;
                if (!visible) scores[m][n][i] = LOWEST_FLOAT;
            }
        }
    }
}

// Two adjacent C (16, 8) as A (16, 16).
__device__ __forceinline__ void as_a(u32 (&a)[4], const float (&left)[4], const float (&right)[4]) {
    a[0] = pack_bf16(left[0], left[1]);
    a[1] = pack_bf16(left[2], left[3]);
    a[2] = pack_bf16(right[0], right[1]);
    a[3] = pack_bf16(right[2], right[3]);
}

// Starts the copies of ROWS rows to a tile by a block of 128 threads: row r from `from + r * stride`, zeros from row
// `count` on. Eight threads read the 128 bytes of one row.
template <u32 ROWS>
__device__ __forceinline__ void load_tile(bf16* tile, const bf16* from, u64 stride, u32 count) {
    const u32 piece = threadIdx.x % 8;
#pragma unroll
    for (u32 step = 0; step < ROWS / 16; step++) {
        const u32 row = step * 16 + threadIdx.x / 8;
        const bool there = row < count;
        copy_16_async(tile + tile_place(row, piece), from + (there ? row * stride : 0) + piece * 8, there);
    }
}

// Copies 16 bytes at once; both addresses must be multiples of 16. (nvcc makes four stores of a Pack<u32, 4>.)
__device__ __forceinline__ void copy_16(bf16* to, const bf16* from) {
#ifndef __CUDACC__
    lanes::check_aligned(from, 16);
    lanes::check_aligned(to, 16);
#endif
    *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(from);
}

// The angles of the rotary embedding by position: cosines and sines (P, 32).
struct Angles {
    const float *cos, *sin;
};

// Rotates a warp's (32, 64) gradient of rotated rows back: that of row r by the angles of `position` + r. Rows from `count`
// on stay as they are. Both elements of a pair, which are 32 columns apart, are one lane's.
__device__ __forceinline__ void rotate_back(float (&gradient)[2][8][4], Angles angles, u32 position, u32 count) {
    const u32 g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
    for (u32 m = 0; m < 2; m++) {
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
            const u32 row = m * 16 + half * 8 + g;
            if (row >= count) continue;
            const u64 at = static_cast<u64>(position + row) * (HEAD / 2) + 2 * t;
#pragma unroll
            for (u32 n = 0; n < 4; n++) {
                const Pack<float, 2> cos = load<2>(angles.cos + at + 8 * n), sin = load<2>(angles.sin + at + 8 * n);
#pragma unroll
                for (u32 i = 0; i < 2; i++) {
                    float &first = gradient[m][n][2 * half + i], &second = gradient[m][n + 4][2 * half + i];
                    const float before = first;
                    first = multiply_add(before, cos.values[i], second * sin.values[i]);
                    second = multiply_add(second, cos.values[i], -before * sin.values[i]);
                }
            }
        }
    }
}

// Writes a warp's (32, 64) result, times `scale`, through its own part of shared memory to rows `stride` apart. Rows from
// `count` on are not written.
__device__ __forceinline__ void store_rows(bf16* to, u64 stride, u32 count, bf16* tile,
                                           const float (&result)[2][8][4], const float (&scale)[2][2]) {
    const u32 lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    __syncwarp();
#pragma unroll
    for (u32 m = 0; m < 2; m++) {
#pragma unroll
        for (u32 n = 0; n < 8; n++) {
#pragma unroll
            for (u32 half = 0; half < 2; half++) {
                const float* c = result[m][n] + 2 * half;
                const u32 packed = pack_bf16(c[0] * scale[m][half], c[1] * scale[m][half]);
                *reinterpret_cast<u32*>(tile + tile_place(m * 16 + half * 8 + g, n) + 2 * t) = packed;
            }
        }
    }
    __syncwarp();
#pragma unroll
    for (u32 step = 0; step < 8; step++) {
        const u32 row = step * 4 + lane / 8, piece = lane % 8;
        if (row < count) copy_16(to + row * stride + piece * 8, tile + tile_place(row, piece));
    }
}
