// The forward pass of attention on tensor cores, D = 64, bf16: FlashAttention-2 (Dao, arXiv 2307.08691), algorithm 1,
// written for mma.sync. A block of four warps computes 128 queries of one head, a warp 32 of them. 64 keys and values are
// in shared memory while the next 64 are copied.
//
// A fragment of keys or values is used in two products of 16 rows, which halves the reads of shared memory. Queries stay
// in registers. Scores are exponentiated in base 2, and their scale is folded into one multiplication.
#include "attention.cuh"
#include "tensor_core.cuh"

constexpr u32 FORWARD_KEYS = 64;

// A warp's 32 queries: m counts their two tiles of 16 rows, and a lane has rows g and g + 8 of each.
struct ForwardRows {
    u32 query[2][4][4];    // A (16, 16) of 64 columns
    float output[2][8][4]; // C (16, 8) of 64 columns, not divided by the totals yet
    float maximum[2][2];   // of the scores so far, unscaled
    float total[2][2];     // Σ e^..., this lane's columns only
};

// scores (32, 64) = queries keysᵀ.
__device__ __forceinline__ void score(float (&scores)[2][8][4], const ForwardRows& rows, const bf16* keys) {
    clear(scores);
#pragma unroll
    for (u32 step = 0; step < 4; step++) {
#pragma unroll
        for (u32 pair = 0; pair < 4; pair++) {
            u32 b[4];
            load_b_from_rows(b, keys, pair * 16, step);
#pragma unroll
            for (u32 m = 0; m < 2; m++) {
                mma(scores[m][2 * pair], rows.query[m][step], b[0], b[1]);
                mma(scores[m][2 * pair + 1], rows.query[m][step], b[2], b[3]);
            }
        }
    }
}

// One step of the online softmax: turns scores into weights relative to the new maximum, and scales the sums so far to it.
__device__ __forceinline__ void softmax(float (&scores)[2][8][4], ForwardRows& rows, float scale) {
#pragma unroll
    for (u32 m = 0; m < 2; m++) {
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
            float maximum = rows.maximum[m][half];
#pragma unroll
            for (u32 n = 0; n < 8; n++) {
                maximum = fmaxf(maximum, fmaxf(scores[m][n][2 * half], scores[m][n][2 * half + 1]));
            }
            // The four lanes of a row.
            maximum = fmaxf(maximum, __shfl_xor_sync(WHOLE_WARP, maximum, 1));
            maximum = fmaxf(maximum, __shfl_xor_sync(WHOLE_WARP, maximum, 2));
            const float factor = exp2_fast((rows.maximum[m][half] - maximum) * scale);
            const float shift = maximum * scale;
            float total = rows.total[m][half] * factor;
#pragma unroll
            for (u32 n = 0; n < 8; n++) {
#pragma unroll
                for (u32 i = 2 * half; i < 2 * half + 2; i++) {
                    scores[m][n][i] = exp2_fast(multiply_add(scores[m][n][i], scale, -shift));
                    total += scores[m][n][i];
                    rows.output[m][n][i] *= factor;
                }
            }
            rows.total[m][half] = total;
            rows.maximum[m][half] = maximum;
        }
    }
}

// output (32, 64) += weights (32, 64) values (64, 64).
__device__ __forceinline__ void add_values(ForwardRows& rows, const float (&weights)[2][8][4], const bf16* values) {
#pragma unroll
    for (u32 step = 0; step < 4; step++) {
        u32 a[2][4];
        as_a(a[0], weights[0][2 * step], weights[0][2 * step + 1]);
        as_a(a[1], weights[1][2 * step], weights[1][2 * step + 1]);
#pragma unroll
        for (u32 pair = 0; pair < 4; pair++) {
            u32 b[4];
            load_b(b, values, step * 16, pair);
#pragma unroll
            for (u32 m = 0; m < 2; m++) {
                mma(rows.output[m][2 * pair], a[m], b[0], b[1]);
                mma(rows.output[m][2 * pair + 1], a[m], b[2], b[3]);
            }
        }
    }
}

// Divides by the totals and writes the rows that exist, and their log sums.
__device__ __forceinline__ void write_forward(bf16* out, float* log_sums, u32 count, bf16* shared, ForwardRows& rows,
                                              u64 stride, float scale) {
    const u32 lane = threadIdx.x % 32;
    float inverse[2][2];
#pragma unroll
    for (u32 m = 0; m < 2; m++) {
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
            float total = rows.total[m][half];
            total += __shfl_xor_sync(WHOLE_WARP, total, 1);
            total += __shfl_xor_sync(WHOLE_WARP, total, 2);
            inverse[m][half] = 1.0f / total;
            const u32 row = m * 16 + half * 8 + lane / 4;
            if (lane % 4 == 0 && row < count) {
                log_sums[row] = multiply_add(rows.maximum[m][half], scale * LN_2, logf(total));
            }
        }
    }
    store_rows(out, stride, count, shared, rows.output, inverse);
}

// out (T, H 64) and log_sums (H, T) from qkv (T, (H + 2K) 64). Block (n, h): tile n of head h. Shared: queries
// (128, 64), then twice keys (64, 64) and values (64, 64).
KERNEL(128, attention_forward_64, bf16* __restrict__ out, float* __restrict__ log_sums, const bf16* __restrict__ qkv,
       const u32* __restrict__ tiles, u32 tokens, u32 heads, u32 kv_heads) {
    const Heads shape = {heads, kv_heads, HEAD};
    const u32 head = blockIdx.y, kv_head = head / shape.group(), warp = threadIdx.x / 32;
    const Tile tile = read_tile(tiles);
    const u64 stride = shape.row();
    const float scale = 0.125f * LOG2_E;                                           // 1 / √64, in base 2
    bf16* queries = reinterpret_cast<bf16*>(shared_memory());
    bf16* stages = queries + TILE_ROWS * HEAD;
    const bf16* keys = qkv + tile.start * stride + shape.key(kv_head);
    const bf16* values = qkv + tile.start * stride + shape.value(kv_head);
    const u32 visible = tile.last() - tile.start;                                  // keys of the last query
    const auto load_stage = [&](u32 step) {
        bf16* stage = stages + step % 2 * 2 * FORWARD_KEYS * HEAD;
        const u32 first = step * FORWARD_KEYS, count = visible - first;
        load_tile<FORWARD_KEYS>(stage, keys + first * stride, stride, count);
        load_tile<FORWARD_KEYS>(stage + FORWARD_KEYS * HEAD, values + first * stride, stride, count);
    };
    load_tile<TILE_ROWS>(queries, qkv + tile.first * stride + head * HEAD, stride, tile.last() - tile.first);
    load_stage(0);

    const u32 row = tile.first + warp * 32;                                        // the warp's first
    ForwardRows rows = {};
    rows.maximum[0][0] = rows.maximum[0][1] = rows.maximum[1][0] = rows.maximum[1][1] = LOWEST_FLOAT;
    const u32 steps = (visible + FORWARD_KEYS - 1) / FORWARD_KEYS;
    for (u32 step = 0; step < steps; step++) {
        wait_for_copies();
        // After it this stage is complete, and no thread reads the other one.
        __syncthreads();
        if (step + 1 < steps) load_stage(step + 1);
        const bf16* stage = stages + step % 2 * 2 * FORWARD_KEYS * HEAD;
        const u32 key = tile.start + step * FORWARD_KEYS;
        if (step == 0) {
#pragma unroll
            for (u32 m = 0; m < 2; m++) {
#pragma unroll
                for (u32 i = 0; i < 4; i++) load_a(rows.query[m][i], queries, warp * 32 + m * 16, i);
            }
        }
        if (row >= tile.end || key > row + 31) continue;                           // masked for this warp
        float scores[2][8][4];
        score(scores, rows, stage);
        if (key + FORWARD_KEYS - 1 > row) mask_causal<false>(scores, row, key);
        softmax(scores, rows, scale);
        add_values(rows, scores, stage + FORWARD_KEYS * HEAD);
    }
    if (row >= tile.end) return;
    write_forward(out + row * static_cast<u64>(shape.out_row()) + head * HEAD,
                  log_sums + static_cast<u64>(head) * tokens + row, tile.end - row, queries + warp * 32 * HEAD, rows,
                  shape.out_row(), scale);
}
