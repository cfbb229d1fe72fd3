// The end of attention's key pass where a block computed one query head: adds the heads of each group in their order, so
// that the bits do not depend on which block ended first, and rotates the gradient of the keys back.
#include "attention.cuh"
#include "tensor_core.cuh"

// sums (COUNT) += the rows of a group's heads, `stride` apart.
template <int COUNT>
__device__ __forceinline__ void add_heads(float (&sums)[COUNT], const float* from, u64 stride, u32 heads) {
    for (u32 head = 0; head < heads; head++) {
        float row[COUNT];
        load_floats(row, from + head * stride);
#pragma unroll
        for (int i = 0; i < COUNT; i++) sums[i] += row[i];
    }
}

// The columns of keys and values in dqkv (T, (H + 2K) 64) from partial (2, H, T, 64); positions (T), cos, sin (P, 32).
// Sixteen threads compute a token's key head, eight of them its keys: each four columns and those 32 after them.
KERNEL(256, attention_key_sums_64, bf16* __restrict__ dqkv, const float* __restrict__ partial,
       const u32* __restrict__ positions, const float* __restrict__ cos, const float* __restrict__ sin, u32 tokens,
       u32 heads, u32 kv_heads) {
    const Heads shape = {heads, kv_heads, HEAD};
    const u64 item = static_cast<u64>(blockIdx.x) * blockDim.x + threadIdx.x;
    const u32 column = item % 8 * 4, kv_head = item / 16 % kv_heads;
    const bool of_values = item / 8 % 2 == 1;
    const u64 token = item / 16 / kv_heads, head_stride = static_cast<u64>(tokens) * HEAD;
    if (token >= tokens) return;
    const u64 first_head = (of_values ? heads : 0) + kv_head * shape.group();
    const float* from = partial + first_head * head_stride + token * HEAD + column;
    float first[4] = {}, second[4] = {};
    add_heads(first, from, head_stride, shape.group());
    add_heads(second, from + HEAD / 2, head_stride, shape.group());
    if (!of_values) {
        float cosines[4], sines[4];
        const u64 angle = static_cast<u64>(positions[token]) * (HEAD / 2) + column;
        load_floats(cosines, cos + angle);
        load_floats(sines, sin + angle);
#pragma unroll
        for (u32 i = 0; i < 4; i++) {
            const float before = first[i];
            first[i] = multiply_add(before, cosines[i], second[i] * sines[i]) * 0.125f;
            second[i] = multiply_add(second[i], cosines[i], -before * sines[i]) * 0.125f;
        }
    }
    bf16* to = dqkv + token * shape.row() + (of_values ? shape.value(kv_head) : shape.key(kv_head)) + column;
    store(to, narrow<bf16>(first));
    store(to + HEAD / 2, narrow<bf16>(second));
}
