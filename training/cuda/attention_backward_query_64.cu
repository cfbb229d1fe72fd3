// The gradient of the queries in attention on tensor cores, D = 64, bf16. A block of four warps computes 128 queries of
// one head, a warp 32 of them, over the keys in the order of the forward pass: S = Q Kᵀ and dP = dO Vᵀ give
// dS = P (dP - δ), and dQ = Σ dS K / √D, which is rotated back: to the gradient of the queries before the rotary embedding.
// Queries and the gradient of the output stay in registers; scores are computed for 32 keys at a time, so that they fit
// beside them.
#include "attention.cuh"
#include "tensor_core.cuh"

constexpr u32 QUERY_PASS_KEYS = 64;

// A warp's 32 queries: m counts their two tiles of 16 rows, and a lane has rows g and g + 8 of each.
struct QueryRows {
    u32 query[2][4][4];      // A (16, 16) of 64 columns
    u32 dout[2][4][4];       // A (16, 16) of 64 columns
    float dquery[2][8][4];   // C (16, 8) of 64 columns
    float log_sum[2][2];     // in base 2
    float delta[2][2];
};

// result (32, 32) = rows (32, 64) tileᵀ, of the tile's 32 rows from `first` on.
__device__ __forceinline__ void times_rows(float (&result)[2][4][4], const u32 (&rows)[2][4][4], const bf16* tile,
                                           u32 first) {
    clear(result);
#pragma unroll
    for (u32 step = 0; step < 4; step++) {
#pragma unroll
        for (u32 pair = 0; pair < 2; pair++) {
            u32 b[4];
            load_b_from_rows(b, tile, first + pair * 16, step);
#pragma unroll
            for (u32 m = 0; m < 2; m++) {
                mma(result[m][2 * pair], rows[m][step], b[0], b[1]);
                mma(result[m][2 * pair + 1], rows[m][step], b[2], b[3]);
            }
        }
    }
}

// Turns dP into the gradient of the scores, in place.
__device__ __forceinline__ void dscores_of_queries(float (&dscores)[2][4][4], const float (&scores)[2][4][4],
                                                   const QueryRows& rows, float scale) {
#pragma unroll
    for (u32 m = 0; m < 2; m++) {
#pragma unroll
        for (u32 n = 0; n < 4; n++) {
#pragma unroll
            for (u32 i = 0; i < 4; i++) {
                const float weight = exp2_fast(multiply_add(scores[m][n][i], scale, -rows.log_sum[m][i / 2]));
                dscores[m][n][i] = weight * (dscores[m][n][i] - rows.delta[m][i / 2]);
            }
        }
    }
}

// dquery (32, 64) += dscores (32, 32) keys, the tile's 32 rows from `first` on.
__device__ __forceinline__ void add_dquery(QueryRows& rows, const float (&dscores)[2][4][4], const bf16* keys,
                                           u32 first) {
#pragma unroll
    for (u32 step = 0; step < 2; step++) {
        u32 a[2][4];
        as_a(a[0], dscores[0][2 * step], dscores[0][2 * step + 1]);
        as_a(a[1], dscores[1][2 * step], dscores[1][2 * step + 1]);
#pragma unroll
        for (u32 pair = 0; pair < 4; pair++) {
            u32 b[4];
            load_b(b, keys, first + step * 16, pair);
#pragma unroll
            for (u32 m = 0; m < 2; m++) {
                mma(rows.dquery[m][2 * pair], a[m], b[0], b[1]);
                mma(rows.dquery[m][2 * pair + 1], a[m], b[2], b[3]);
            }
        }
    }
}

// Reads the fragments of the warp's queries and of their output's gradient, and each row's log sum and delta.
__device__ __forceinline__ void read_query_rows(QueryRows& rows, const bf16* queries, const bf16* douts,
                                                const float* log_sums, const float* delta, u32 count) {
    const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
    for (u32 m = 0; m < 2; m++) {
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            load_a(rows.query[m][i], queries, warp * 32 + m * 16, i);
            load_a(rows.dout[m][i], douts, warp * 32 + m * 16, i);
        }
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
            const u32 row = m * 16 + half * 8 + lane / 4;
            rows.log_sum[m][half] = row < count ? log_sums[row] * LOG2_E : 0.0f;
            rows.delta[m][half] = row < count ? delta[row] : 0.0f;
        }
    }
}

// The columns of the queries in dqkv (T, (H + 2K) 64); cos, sin (P, 32). Block (n, h): tile n of head h. Shared: queries (128, 64), dout
// (128, 64), then keys (64, 64) and values (64, 64). Queries and dout are read once: every other stage is over the queries,
// so that two blocks fit into the 100 KB of smaller GPUs.
KERNEL(128, attention_backward_query_64, bf16* __restrict__ dqkv, const bf16* __restrict__ dout,
       const float* __restrict__ log_sums, const float* __restrict__ delta, const bf16* __restrict__ qkv,
       const u32* __restrict__ tiles, const float* __restrict__ cos, const float* __restrict__ sin, u32 tokens,
       u32 heads, u32 kv_heads) {
    const Heads shape = {heads, kv_heads, HEAD};
    const u32 head = blockIdx.y, kv_head = head / shape.group(), warp = threadIdx.x / 32;
    const Tile tile = read_tile(tiles);
    const u64 stride = shape.row(), out_row = shape.out_row();
    const float scale = 0.125f * LOG2_E;                                           // 1 / √64, in base 2
    bf16* queries = reinterpret_cast<bf16*>(shared_memory());
    bf16* douts = queries + TILE_ROWS * HEAD;
    bf16* stages = douts + TILE_ROWS * HEAD;
    const bf16* keys = qkv + tile.start * stride + shape.key(kv_head);
    const bf16* values = qkv + tile.start * stride + shape.value(kv_head);
    const u32 visible = tile.last() - tile.start;                                  // keys of the last query
    const auto stage_of = [&](u32 step) { return step % 2 == 0 ? stages : queries; };
    const auto load_stage = [&](u32 step) {
        bf16* stage = stage_of(step);
        const u32 first = step * QUERY_PASS_KEYS, count = visible - first;
        load_tile<QUERY_PASS_KEYS>(stage, keys + first * stride, stride, count);
        load_tile<QUERY_PASS_KEYS>(stage + QUERY_PASS_KEYS * HEAD, values + first * stride, stride, count);
    };
    load_tile<TILE_ROWS>(queries, qkv + tile.first * stride + head * HEAD, stride, tile.last() - tile.first);
    load_tile<TILE_ROWS>(douts, dout + tile.first * out_row + head * HEAD, out_row, tile.last() - tile.first);
    load_stage(0);

    const u32 row = tile.first + warp * 32;                                        // the warp's first
    const u32 count = row < tile.end ? tile.end - row : 0;
    const u64 saved = static_cast<u64>(head) * tokens + row;
    QueryRows rows = {};
    const u32 steps = (visible + QUERY_PASS_KEYS - 1) / QUERY_PASS_KEYS;
    for (u32 step = 0; step < steps; step++) {
        wait_for_copies();
        // After it this stage is complete, and no thread reads the other one.
        __syncthreads();
        if (step == 0) {
            read_query_rows(rows, queries, douts, log_sums + saved, delta + saved, count);
            // No warp needs the queries any more.
            __syncthreads();
        }
        if (step + 1 < steps) load_stage(step + 1);
        const bf16* stage = stage_of(step);
#pragma unroll 1
        for (u32 first = 0; first < QUERY_PASS_KEYS; first += 32) {
            const u32 key = tile.start + step * QUERY_PASS_KEYS + first;
            if (count == 0 || key > row + 31) continue;                            // masked for this warp
            float scores[2][4][4], dscores[2][4][4];
            times_rows(scores, rows.query, stage, first);
            times_rows(dscores, rows.dout, stage + QUERY_PASS_KEYS * HEAD, first);
            if (key + 31 > row) mask_causal<false>(scores, row, key);
            dscores_of_queries(dscores, scores, rows, scale);
            add_dquery(rows, dscores, stage, first);
        }
    }
    if (count == 0) return;
    const float scales[2][2] = {{0.125f, 0.125f}, {0.125f, 0.125f}};
    rotate_back(rows.dquery, {cos, sin}, row - tile.start, count);
    // Other warps may still read the last stage, which can be over the queries.
    store_rows(dqkv + row * stride + head * HEAD, stride, count, douts + warp * 32 * HEAD, rows.dquery, scales);
}
