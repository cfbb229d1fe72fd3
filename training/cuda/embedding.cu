// The token embedding. In the backward pass a block owns a row of the table and adds its tokens in their order, so that
// the sum is the CPU's bit for bit; the host sorts the tokens by id.
#include "common.cuh"

template <class E>
__device__ __forceinline__ void embed(float* x, const E* table, const u32* ids, u32 channels) {
    float* out = x + static_cast<u64>(blockIdx.x) * channels;                      // (C)
    const E* row = table + static_cast<u64>(ids[blockIdx.x]) * channels;           // (C)
    if (channels % 4 == 0) {
        for (u32 c = 4 * threadIdx.x; c < channels; c += 4 * blockDim.x) {
            float values[4];
            widen(values, load<4>(row + c));
            store(out + c, narrow<float>(values));
        }
    } else {
        for (u32 c = threadIdx.x; c < channels; c += blockDim.x) out[c] = to_float(row[c]);
    }
}

// x (T, C) = rows of table (V, C). One block for each token.
KERNEL(256, embedding_forward_f32, float* __restrict__ x, const float* __restrict__ table,
       const u32* __restrict__ ids, u32 channels) {
    embed(x, table, ids, channels);
}

KERNEL(256, embedding_forward_bf16, float* __restrict__ x, const bf16* __restrict__ table,
       const u32* __restrict__ ids, u32 channels) {
    embed(x, table, ids, channels);
}

// COUNT channels of one row of the table: adds the rows of dx at `order`[first..last] one after another. Several are
// loaded ahead, because a frequent token has thousands.
template <int COUNT>
__device__ __forceinline__ void add_rows(float* to, const float* dx, const u32* order, u32 first, u32 last,
                                         u32 channels) {
    constexpr u32 AHEAD = 8;
    float sum[COUNT];
    widen(sum, load<COUNT>(to));
    u32 place = first;
    for (; place + AHEAD <= last; place += AHEAD) {
        Pack<float, COUNT> rows[AHEAD];
#pragma unroll
        for (u32 i = 0; i < AHEAD; i++) rows[i] = load<COUNT>(dx + static_cast<u64>(order[place + i]) * channels);
#pragma unroll
        for (u32 i = 0; i < AHEAD; i++) {
#pragma unroll
            for (int c = 0; c < COUNT; c++) sum[c] += rows[i].values[c];
        }
    }
    for (; place < last; place++) {
        const Pack<float, COUNT> row = load<COUNT>(dx + static_cast<u64>(order[place]) * channels);
#pragma unroll
        for (int c = 0; c < COUNT; c++) sum[c] += row.values[c];
    }
    store(to, narrow<float>(sum));
}

// dtable (V, C) += dx (T, C) at the rows of ids (T). order (T): token indexes sorted by (id, index); segments (S + 1):
// where in `order` each id that occurs starts, then T. Block (s, b) owns 512 channels of the row of segment s.
KERNEL(128, embedding_backward, float* __restrict__ dtable, const float* __restrict__ dx,
       const u32* __restrict__ ids, const u32* __restrict__ order, const u32* __restrict__ segments, u32 channels) {
    const u32 first = segments[blockIdx.x], last = segments[blockIdx.x + 1];
    const u32 channel = (blockIdx.y * blockDim.x + threadIdx.x) * 4;
    if (channel >= channels) return;
    float* row = dtable + static_cast<u64>(ids[order[first]]) * channels;
    if (channels % 4 == 0) {
        add_rows<4>(row + channel, dx + channel, order, first, last, channels);
    } else {
        for (u32 c = channel; c < min(channel + 4, channels); c++) {
            add_rows<1>(row + c, dx + c, order, first, last, channels);
        }
    }
}
