// Causal grouped-query attention for any D up to 128, in f32 or bf16: the plain form of what the tensor core kernels do
// for D = 64. It is the reference for them, and is used for models with other head dimensions. A warp computes a row at a
// time; a lane computes one key (or query) of the scores and every 32nd column of the sums.
//
// The backward pass computes scores again from the log sums, as in FlashAttention-2 (Dao, arXiv 2307.08691):
// P = e^(s scale - L), dS = P (dP - δ), δ = Σ dout out. The gradients of queries and of keys have passes of their own, so
// that each element is written by one thread that sums in one order.
#include "attention.cuh"

constexpr u32 ATTENTION_WARPS = 4;
// Columns of a lane: D is at most 32 times as many.
constexpr u32 LANE_COLUMNS = 4;

template <class E> __device__ __forceinline__ float dot(const float* row, const E* other, u32 dim) {
    float sum = 0.0f;
    for (u32 d = 0; d < dim; d++) sum = multiply_add(row[d], to_float(other[d]), sum);
    return sum;
}

// Copies a row to shared memory, for the whole warp.
template <class E> __device__ __forceinline__ void share_row(float* to, const E* from, u32 dim) {
    for (u32 d = threadIdx.x % 32; d < dim; d += 32) to[d] = to_float(from[d]);
}

// sums += Σ weights[j] rows[j] for j in 0..count, rows `stride` apart. A lane has the columns lane, lane + 32, ...
template <class E>
__device__ __forceinline__ void add_weighted(float (&sums)[LANE_COLUMNS], const float* weights, const E* rows,
                                             u64 stride, u32 count, u32 dim) {
#pragma unroll
    for (u32 i = 0; i < LANE_COLUMNS; i++) {
        const u32 d = threadIdx.x % 32 + 32 * i;
        if (d >= dim) continue;
        for (u32 j = 0; j < count; j++) sums[i] = multiply_add(weights[j], to_float(rows[j * stride + d]), sums[i]);
    }
}

template <class E>
__device__ __forceinline__ void write_row(E* to, const float (&sums)[LANE_COLUMNS], float scale, u32 dim) {
#pragma unroll
    for (u32 i = 0; i < LANE_COLUMNS; i++) {
        const u32 d = threadIdx.x % 32 + 32 * i;
        if (d < dim) to[d] = from_float<E>(sums[i] * scale);
    }
}

// Computes a row of the output and its log sum. `query` (D) and `weights` (32) are the warp's shared memory.
template <class E>
__device__ __forceinline__ void forward_query(E* out, float* log_sum, const E* qkv, float* query, float* weights,
                                              u32 row, u32 start, u32 head, Heads heads) {
    const u32 lane = threadIdx.x % 32;
    const u64 stride = heads.row();
    const E* keys = qkv + heads.key(head / heads.group());
    const E* values = qkv + heads.value(head / heads.group());
    const float scale = 1.0f / sqrtf(static_cast<float>(heads.dim));
    float maximum = LOWEST_FLOAT, total = 0.0f, sums[LANE_COLUMNS] = {};
    share_row(query, qkv + row * stride + head * heads.dim, heads.dim);
    __syncwarp();
    for (u32 first = start; first <= row; first += 32) {
        const u32 key = first + lane;
        const bool visible = key <= row;
        const float score = visible ? dot(query, keys + key * stride, heads.dim) * scale : LOWEST_FLOAT;
        const float larger = fmaxf(maximum, warp_maximum(score));
        const float weight = visible ? exp_fast(score - larger) : 0.0f;
        const float factor = exp_fast(maximum - larger);
        maximum = larger;
        total = multiply_add(total, factor, warp_sum(weight));
#pragma unroll
        for (u32 i = 0; i < LANE_COLUMNS; i++) sums[i] *= factor;
        weights[lane] = weight;
        __syncwarp();
        add_weighted(sums, weights, values + first * stride, stride, min(32u, row + 1 - first), heads.dim);
        __syncwarp();
    }
    write_row(out, sums, 1.0f / total, heads.dim);
    if (lane == 0) *log_sum = maximum + logf(total);
}

template <class E>
__device__ __forceinline__ void forward_tile(E* out, float* log_sums, const E* qkv, const u32* tiles, u32 tokens,
                                             Heads heads) {
    const u32 head = blockIdx.y, warp = threadIdx.x / 32;
    const Tile tile = read_tile(tiles);
    float* query = reinterpret_cast<float*>(shared_memory()) + warp * (heads.dim + 32);  // (D), then weights (32)
    for (u32 row = tile.first + warp; row < tile.last(); row += ATTENTION_WARPS) {
        E* to = out + static_cast<u64>(row) * heads.out_row() + head * heads.dim;
        float* log_sum = log_sums + static_cast<u64>(head) * tokens + row;
        forward_query(to, log_sum, qkv, query, query + heads.dim, row, tile.start, head, heads);
    }
}

// out (T, H D) and log_sums (H, T) from qkv (T, (H + 2K) D). Block (n, h): tile n of head h.
KERNEL(128, attention_forward_f32, float* __restrict__ out, float* __restrict__ log_sums,
       const float* __restrict__ qkv, const u32* __restrict__ tiles, u32 tokens, u32 heads, u32 kv_heads,
       u32 head_dim) {
    forward_tile(out, log_sums, qkv, tiles, tokens, Heads{heads, kv_heads, head_dim});
}

KERNEL(128, attention_forward_bf16, bf16* __restrict__ out, float* __restrict__ log_sums,
       const bf16* __restrict__ qkv, const u32* __restrict__ tiles, u32 tokens, u32 heads, u32 kv_heads,
       u32 head_dim) {
    forward_tile(out, log_sums, qkv, tiles, tokens, Heads{heads, kv_heads, head_dim});
}

template <class E, int COUNT>
__device__ __forceinline__ float dot_by_eight(const E* a, const E* b, u32 dim) {
    float sum = 0.0f;
    for (u32 d = threadIdx.x % 8 * COUNT; d < dim; d += 8 * COUNT) {
        float left[COUNT], right[COUNT];
        widen(left, load<COUNT>(a + d));
        widen(right, load<COUNT>(b + d));
#pragma unroll
        for (int i = 0; i < COUNT; i++) sum = multiply_add(left[i], right[i], sum);
    }
    return sum;
}

// δ: eight threads compute one head of one token. They are in the order of memory.
template <class E>
__device__ __forceinline__ void delta_of_heads(float* delta, const E* dout, const E* out, u32 tokens, u32 heads,
                                               u32 dim) {
    constexpr int COUNT = 16 / sizeof(E);
    const u64 pair = static_cast<u64>(blockIdx.x) * 32 + threadIdx.x / 8;
    const bool there = pair < static_cast<u64>(tokens) * heads;
    const u64 at = there ? pair * dim : 0;
    float sum = 0.0f;
    if (there) {
        sum = dim % COUNT == 0 ? dot_by_eight<E, COUNT>(dout + at, out + at, dim)
                               : dot_by_eight<E, 1>(dout + at, out + at, dim);
    }
#pragma unroll
    for (int distance = 4; distance > 0; distance /= 2) sum += __shfl_xor_sync(WHOLE_WARP, sum, distance);
    if (there && threadIdx.x % 8 == 0) delta[pair % heads * tokens + pair / heads] = sum;
}

// delta (H, T) from dout and out (T, H D).
KERNEL(256, attention_delta_f32, float* __restrict__ delta, const float* __restrict__ dout,
       const float* __restrict__ out, u32 tokens, u32 heads, u32 head_dim) {
    delta_of_heads(delta, dout, out, tokens, heads, head_dim);
}

KERNEL(256, attention_delta_bf16, float* __restrict__ delta, const bf16* __restrict__ dout,
       const bf16* __restrict__ out, u32 tokens, u32 heads, u32 head_dim) {
    delta_of_heads(delta, dout, out, tokens, heads, head_dim);
}

// The operands of the backward passes.
template <class E> struct Saved {
    const E* dout;          // (T, H D)
    const float* log_sums;  // (H, T)
    const float* delta;     // (H, T)
    const E* qkv;           // (T, (H + 2K) D)
};

// Computes a row of the queries' gradient. Shared: query (D), dout (D), dscores (32) of the warp.
template <class E>
__device__ __forceinline__ void backward_query(E* dqkv, Saved<E> saved, float* shared, u32 row, u32 start, u32 head,
                                               u32 tokens, Heads heads) {
    float *query = shared, *dout = shared + heads.dim, *dscores = shared + 2 * heads.dim;
    const u32 lane = threadIdx.x % 32, dim = heads.dim;
    const u64 stride = heads.row(), saved_at = static_cast<u64>(head) * tokens + row;
    const E* keys = saved.qkv + heads.key(head / heads.group());
    const E* values = saved.qkv + heads.value(head / heads.group());
    const float scale = 1.0f / sqrtf(static_cast<float>(dim));
    const float log_sum = saved.log_sums[saved_at], delta = saved.delta[saved_at];
    float sums[LANE_COLUMNS] = {};
    share_row(query, saved.qkv + row * stride + head * dim, dim);
    share_row(dout, saved.dout + static_cast<u64>(row) * heads.out_row() + head * dim, dim);
    __syncwarp();
    for (u32 first = start; first <= row; first += 32) {
        const u32 key = first + lane;
        float dscore = 0.0f;
        if (key <= row) {
            const float weight = exp_fast(multiply_add(dot(query, keys + key * stride, dim), scale, -log_sum));
            dscore = weight * (dot(dout, values + key * stride, dim) - delta);
        }
        dscores[lane] = dscore;
        __syncwarp();
        add_weighted(sums, dscores, keys + first * stride, stride, min(32u, row + 1 - first), dim);
        __syncwarp();
    }
    write_row(dqkv + row * stride + head * dim, sums, scale, dim);
}

template <class E>
__device__ __forceinline__ void backward_query_tile(E* dqkv, Saved<E> saved, const u32* tiles, u32 tokens,
                                                    Heads heads) {
    const u32 warp = threadIdx.x / 32;
    const Tile tile = read_tile(tiles);
    float* shared = reinterpret_cast<float*>(shared_memory()) + warp * (2 * heads.dim + 32);
    for (u32 row = tile.first + warp; row < tile.last(); row += ATTENTION_WARPS) {
        backward_query(dqkv, saved, shared, row, tile.start, blockIdx.y, tokens, heads);
    }
}

// The columns of the queries in dqkv (T, (H + 2K) D). Block (n, h): tile n of head h.
KERNEL(128, attention_backward_query_f32, float* __restrict__ dqkv, const float* __restrict__ dout,
       const float* __restrict__ log_sums, const float* __restrict__ delta, const float* __restrict__ qkv,
       const u32* __restrict__ tiles, u32 tokens, u32 heads, u32 kv_heads, u32 head_dim) {
    const Heads shape = {heads, kv_heads, head_dim};
    backward_query_tile(dqkv, Saved<float>{dout, log_sums, delta, qkv}, tiles, tokens, shape);
}

KERNEL(128, attention_backward_query_bf16, bf16* __restrict__ dqkv, const bf16* __restrict__ dout,
       const float* __restrict__ log_sums, const float* __restrict__ delta, const bf16* __restrict__ qkv,
       const u32* __restrict__ tiles, u32 tokens, u32 heads, u32 kv_heads, u32 head_dim) {
    const Heads shape = {heads, kv_heads, head_dim};
    backward_query_tile(dqkv, Saved<bf16>{dout, log_sums, delta, qkv}, tiles, tokens, shape);
}

// Computes a row of the gradients of keys and values, over all queries that attend to it, head by head. Shared: key (D),
// value (D), weights (32), dscores (32) of the warp.
template <class E>
__device__ __forceinline__ void backward_key(E* dqkv, Saved<E> saved, float* shared, u32 row, u32 end, u32 kv_head,
                                             u32 tokens, Heads heads) {
    const u32 lane = threadIdx.x % 32, dim = heads.dim;
    float *key = shared, *value = shared + dim, *weights = shared + 2 * dim, *dscores = weights + 32;
    const u64 stride = heads.row(), out_row = heads.out_row();
    const float scale = 1.0f / sqrtf(static_cast<float>(dim));
    float dkey[LANE_COLUMNS] = {}, dvalue[LANE_COLUMNS] = {};
    share_row(key, saved.qkv + row * stride + heads.key(kv_head), dim);
    share_row(value, saved.qkv + row * stride + heads.value(kv_head), dim);
    __syncwarp();
    for (u32 head = kv_head * heads.group(); head < (kv_head + 1) * heads.group(); head++) {
        const E* queries = saved.qkv + head * dim;
        const E* dout = saved.dout + head * dim;
        for (u32 first = row; first < end; first += 32) {
            const u32 query = first + lane;
            float weight = 0.0f, dscore = 0.0f;
            if (query < end) {
                const u64 at = static_cast<u64>(head) * tokens + query;
                weight = exp_fast(multiply_add(dot(key, queries + query * stride, dim), scale, -saved.log_sums[at]));
                dscore = weight * (dot(value, dout + query * out_row, dim) - saved.delta[at]);
            }
            weights[lane] = weight;
            dscores[lane] = dscore;
            __syncwarp();
            const u32 count = min(32u, end - first);
            add_weighted(dvalue, weights, dout + first * out_row, out_row, count, dim);
            add_weighted(dkey, dscores, queries + first * stride, stride, count, dim);
            __syncwarp();
        }
    }
    write_row(dqkv + row * stride + heads.key(kv_head), dkey, scale, dim);
    write_row(dqkv + row * stride + heads.value(kv_head), dvalue, 1.0f, dim);
}

template <class E>
__device__ __forceinline__ void backward_key_tile(E* dqkv, Saved<E> saved, const u32* tiles, u32 tokens,
                                                  Heads heads) {
    const u32 warp = threadIdx.x / 32;
    const Tile tile = read_tile(tiles);
    float* shared = reinterpret_cast<float*>(shared_memory()) + warp * (2 * heads.dim + 64);
    for (u32 row = tile.first + warp; row < tile.last(); row += ATTENTION_WARPS) {
        backward_key(dqkv, saved, shared, row, tile.end, blockIdx.y, tokens, heads);
    }
}

// The columns of keys and values in dqkv (T, (H + 2K) D). Block (n, k): tile n of key head k.
KERNEL(128, attention_backward_key_f32, float* __restrict__ dqkv, const float* __restrict__ dout,
       const float* __restrict__ log_sums, const float* __restrict__ delta, const float* __restrict__ qkv,
       const u32* __restrict__ tiles, u32 tokens, u32 heads, u32 kv_heads, u32 head_dim) {
    const Heads shape = {heads, kv_heads, head_dim};
    backward_key_tile(dqkv, Saved<float>{dout, log_sums, delta, qkv}, tiles, tokens, shape);
}

KERNEL(128, attention_backward_key_bf16, bf16* __restrict__ dqkv, const bf16* __restrict__ dout,
       const float* __restrict__ log_sums, const float* __restrict__ delta, const bf16* __restrict__ qkv,
       const u32* __restrict__ tiles, u32 tokens, u32 heads, u32 kv_heads, u32 head_dim) {
    const Heads shape = {heads, kv_heads, head_dim};
    backward_key_tile(dqkv, Saved<bf16>{dout, log_sums, delta, qkv}, tiles, tokens, shape);
}
