// The gradients of keys and values in attention on tensor cores, D = 64, bf16. A block of four warps computes 128 keys of
// one key head, a warp 32 of them, over all queries that attend to them, head by head of the group. No other block adds
// to these rows, so there are no atomics.
//
// Scores are computed transposed, Sᵀ = K Qᵀ: the tensor core leaves Pᵀ and dSᵀ in the registers in which dV = Σ Pᵀ dO and
// dK = Σ dSᵀ Q / √D need them; dK is then rotated back. 32 queries are in shared memory while the next 32 are copied: with
// more of them scores and gradients do not fit into the registers.
//
// The pass for the queries computes scores and dP once more. A single pass has five products instead of seven, but sends
// partial sums of dQ through memory, which takes longer than the two products (BENCHMARKS.md, "Training on a GPU").
#include "attention.cuh"
#include "tensor_core.cuh"

constexpr u32 KEY_PASS_QUERIES = 32;
// A stage: queries (32, 64) and dout (32, 64), then log sums (32) and delta (32).
constexpr u32 KEY_PASS_STAGE = 2 * KEY_PASS_QUERIES * HEAD * 2 + 2 * KEY_PASS_QUERIES * 4;

// A warp's 32 keys: m counts their two tiles of 16 rows, and a lane has rows g and g + 8 of each.
struct KeyRows {
    float dkey[2][8][4];    // C (16, 8) of 64 columns
    float dvalue[2][8][4];
};

// result (32, 32) = the warp's 32 rows of `own` (128, 64) times the 32 rows of `tile`, transposed.
__device__ __forceinline__ void own_times_rows(float (&result)[2][4][4], const bf16* own, const bf16* tile) {
    const u32 warp = threadIdx.x / 32;
    clear(result);
#pragma unroll
    for (u32 step = 0; step < 4; step++) {
        u32 a[2][4];
        load_a(a[0], own, warp * 32, step);
        load_a(a[1], own, warp * 32 + 16, step);
#pragma unroll
        for (u32 pair = 0; pair < 2; pair++) {
            u32 b[4];
            load_b_from_rows(b, tile, pair * 16, step);
#pragma unroll
            for (u32 m = 0; m < 2; m++) {
                mma(result[m][2 * pair], a[m], b[0], b[1]);
                mma(result[m][2 * pair + 1], a[m], b[2], b[3]);
            }
        }
    }
}

// sums (32, 64) += weights (32, 32) times the tile's 32 rows.
__device__ __forceinline__ void add_rows_of_tile(float (&sums)[2][8][4], const u32 (&weights)[2][2][4],
                                                 const bf16* tile) {
#pragma unroll
    for (u32 step = 0; step < 2; step++) {
#pragma unroll
        for (u32 pair = 0; pair < 4; pair++) {
            u32 b[4];
            load_b(b, tile, step * 16, pair);
#pragma unroll
            for (u32 m = 0; m < 2; m++) {
                mma(sums[m][2 * pair], weights[m][step], b[0], b[1]);
                mma(sums[m][2 * pair + 1], weights[m][step], b[2], b[3]);
            }
        }
    }
}

// Turns scores into softmax weights; log_sums are those of the columns.
__device__ __forceinline__ void softmax_weights(float (&scores)[2][4][4], const float* log_sums, float scale) {
#pragma unroll
    for (u32 n = 0; n < 4; n++) {
        const Pack<float, 2> log_sum = load<2>(log_sums + 8 * n + threadIdx.x % 4 * 2);
        const float shifts[2] = {log_sum.values[0] * LOG2_E, log_sum.values[1] * LOG2_E};
#pragma unroll
        for (u32 m = 0; m < 2; m++) {
#pragma unroll
            for (u32 i = 0; i < 4; i++) {
                scores[m][n][i] = exp2_fast(multiply_add(scores[m][n][i], scale, -shifts[i % 2]));
            }
        }
    }
}

// Turns dP into the gradient of the scores, in place.
__device__ __forceinline__ void dscores_of_keys(float (&dscores)[2][4][4], const float (&weights)[2][4][4],
                                                const float* delta) {
#pragma unroll
    for (u32 n = 0; n < 4; n++) {
        const Pack<float, 2> along = load<2>(delta + 8 * n + threadIdx.x % 4 * 2);
#pragma unroll
        for (u32 m = 0; m < 2; m++) {
#pragma unroll
            for (u32 i = 0; i < 4; i++) {
                dscores[m][n][i] = weights[m][n][i] * (dscores[m][n][i] - along.values[i % 2]);
            }
        }
    }
}

__device__ __forceinline__ void pack_weights(u32 (&packed)[2][2][4], const float (&weights)[2][4][4]) {
#pragma unroll
    for (u32 m = 0; m < 2; m++) {
#pragma unroll
        for (u32 step = 0; step < 2; step++) as_a(packed[m][step], weights[m][2 * step], weights[m][2 * step + 1]);
    }
}

// Adds 32 queries' part of the gradients; `key` and `query` are the first ones of the warp and of the columns.
__device__ __forceinline__ void add_queries(KeyRows& rows, const bf16* keys, const bf16* values, const bf16* queries,
                                            const bf16* douts, const float* log_sums, const float* delta, float scale,
                                            u32 key, u32 query) {
    float scores[2][4][4], dscores[2][4][4];
    u32 packed[2][2][4];
    own_times_rows(scores, keys, queries);
    if (query < key + 31) mask_causal<true>(scores, key, query);
    softmax_weights(scores, log_sums, scale);
    pack_weights(packed, scores);
    add_rows_of_tile(rows.dvalue, packed, douts);
    own_times_rows(dscores, values, douts);
    dscores_of_keys(dscores, scores, delta);
    pack_weights(packed, dscores);
    add_rows_of_tile(rows.dkey, packed, queries);
}

// Writes a warp's (32, 64) result in f32, rows from `count` on excepted.
__device__ __forceinline__ void store_sums(float* to, u32 count, const float (&result)[2][8][4]) {
    const u32 g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
    for (u32 m = 0; m < 2; m++) {
#pragma unroll
        for (u32 half = 0; half < 2; half++) {
            const u32 row = m * 16 + half * 8 + g;
            if (row >= count) continue;
#pragma unroll
            for (u32 n = 0; n < 8; n++) {
                const float* c = result[m][n] + 2 * half;
                store(to + row * HEAD + 8 * n + 2 * t, Pack<float, 2>{{c[0], c[1]}});
            }
        }
    }
}

// The columns of keys and values in dqkv (T, (H + 2K) 64); cos, sin (P, 32). Block (n, k): tile n of key head k. Or, so that
// short batches of models with few key heads have enough blocks, block (n, h): one query head's part of the sums, which goes
// to partial (2, H, T, 64), keys before values, for `attention_key_sums_64`; else partial is null. Shared: keys (128, 64),
// values (128, 64), then two stages; two blocks fit into the 100 KB of smaller GPUs.
KERNEL(128, attention_backward_key_64, bf16* __restrict__ dqkv, float* __restrict__ partial,
       const bf16* __restrict__ dout, const float* __restrict__ log_sums, const float* __restrict__ delta,
       const bf16* __restrict__ qkv, const u32* __restrict__ tiles, const float* __restrict__ cos,
       const float* __restrict__ sin, u32 tokens, u32 heads, u32 kv_heads) {
    const Heads shape = {heads, kv_heads, HEAD};
    const u32 block_heads = partial ? 1 : shape.group(), first_head = blockIdx.y * block_heads;
    const u32 kv_head = first_head / shape.group(), warp = threadIdx.x / 32;
    const Tile tile = read_tile(tiles);
    const u64 stride = shape.row(), out_row = shape.out_row();
    const float scale = 0.125f * LOG2_E;                                           // 1 / √64, in base 2
    bf16* keys = reinterpret_cast<bf16*>(shared_memory());
    bf16* values = keys + TILE_ROWS * HEAD;
    unsigned char* stages = shared_memory() + 2 * TILE_ROWS * HEAD * sizeof(bf16);
    // The steps cover the queries from the tile's first key on, once for each head of the block.
    const u32 head_steps = (tile.end - tile.first + KEY_PASS_QUERIES - 1) / KEY_PASS_QUERIES;
    const u32 steps = head_steps * block_heads;
    const auto load_stage = [&](u32 step) {
        bf16* queries = reinterpret_cast<bf16*>(stages + step % 2 * KEY_PASS_STAGE);
        bf16* douts = queries + KEY_PASS_QUERIES * HEAD;
        float* saved = reinterpret_cast<float*>(douts + KEY_PASS_QUERIES * HEAD);
        const u32 head = first_head + step / head_steps;
        const u32 first = tile.first + step % head_steps * KEY_PASS_QUERIES, count = tile.end - first;
        load_tile<KEY_PASS_QUERIES>(queries, qkv + first * stride + head * HEAD, stride, count);
        load_tile<KEY_PASS_QUERIES>(douts, dout + first * out_row + head * HEAD, out_row, count);
        // One warp copies log sums, another one deltas.
        if (warp < 2) {
            const u32 row = threadIdx.x % KEY_PASS_QUERIES;
            const float* from = (warp == 0 ? log_sums : delta) + static_cast<u64>(head) * tokens;
            copy_4_async(saved + threadIdx.x, from + (row < count ? first + row : first), row < count);
        }
    };
    load_tile<TILE_ROWS>(keys, qkv + tile.first * stride + shape.key(kv_head), stride, tile.last() - tile.first);
    load_tile<TILE_ROWS>(values, qkv + tile.first * stride + shape.value(kv_head), stride, tile.last() - tile.first);
    load_stage(0);

    const u32 row = tile.first + warp * 32;                                        // the warp's first
    KeyRows rows = {};
    for (u32 step = 0; step < steps; step++) {
        wait_for_copies();
        // After it this stage is complete, and no thread reads the other one.
        __syncthreads();
        if (step + 1 < steps) load_stage(step + 1);
        const bf16* queries = reinterpret_cast<const bf16*>(stages + step % 2 * KEY_PASS_STAGE);
        const bf16* douts = queries + KEY_PASS_QUERIES * HEAD;
        const float* saved = reinterpret_cast<const float*>(douts + KEY_PASS_QUERIES * HEAD);
        const u32 query = tile.first + step % head_steps * KEY_PASS_QUERIES;
        // None of these queries attends to a key of this warp, or there are no such keys.
        if (query + 31 < row || row >= tile.end) continue;
        add_queries(rows, keys, values, queries, douts, saved, saved + KEY_PASS_QUERIES, scale, row, query);
    }
    if (row >= tile.end) return;
    const u32 count = tile.end - row;
    if (partial) {
        const u64 at = (static_cast<u64>(first_head) * tokens + row) * HEAD;
        store_sums(partial + at, count, rows.dkey);
        store_sums(partial + at + static_cast<u64>(heads) * tokens * HEAD, count, rows.dvalue);
        return;
    }
    const float scales[2][2] = {{0.125f, 0.125f}, {0.125f, 0.125f}}, ones[2][2] = {{1.0f, 1.0f}, {1.0f, 1.0f}};
    bf16* to = dqkv + row * stride;
    rotate_back(rows.dkey, {cos, sin}, row - tile.start, count);
    store_rows(to + shape.key(kv_head), stride, count, keys + warp * 32 * HEAD, rows.dkey, scales);
    store_rows(to + shape.value(kv_head), stride, count, values + warp * 32 * HEAD, rows.dvalue, ones);
}
