// The rotary position embedding, in place on the queries and keys of qkv; its gradient is the rotation back. Element i of
// a head is paired with i + D/2, as in transformers' Llama.
#include "common.cuh"

template <class E, int COUNT>
__device__ __forceinline__ void rotate_row(E* x, const float* cos, const float* sin, u32 heads, u32 half, float sign) {
    const u32 packs = half / COUNT;
    for (u32 item = threadIdx.x; item < heads * packs; item += blockDim.x) {
        const u32 head = item / packs, i = item % packs * COUNT;
        E* first = x + head * 2 * half + i;
        E* second = first + half;
        float a[COUNT], b[COUNT], rotated[COUNT], rotated_second[COUNT], cosines[COUNT], sines[COUNT];
        widen(a, load<COUNT>(first));
        widen(b, load<COUNT>(second));
        load_floats(cosines, cos + i);
        load_floats(sines, sin + i);
#pragma unroll
        for (int j = 0; j < COUNT; j++) {
            const float sine = sines[j] * sign;
            rotated[j] = multiply_add(a[j], cosines[j], -b[j] * sine);
            rotated_second[j] = multiply_add(b[j], cosines[j], a[j] * sine);
        }
        store(first, narrow<E>(rotated));
        store(second, narrow<E>(rotated_second));
    }
}

template <class E>
__device__ __forceinline__ void rotate(E* x, const u32* positions, const float* cos, const float* sin, u32 row,
                                       u32 heads, u32 head_dim, float sign) {
    constexpr int COUNT = 16 / sizeof(E);
    const u32 half = head_dim / 2;
    const u64 angles = static_cast<u64>(positions[blockIdx.x]) * half;
    x += static_cast<u64>(blockIdx.x) * row;
    if (half % COUNT == 0 && row % COUNT == 0) {
        rotate_row<E, COUNT>(x, cos + angles, sin + angles, heads, half, sign);
    } else {
        rotate_row<E, 1>(x, cos + angles, sin + angles, heads, half, sign);
    }
}

// Rotates the first `heads` heads of every row of x (T, row) by the angles of positions (T): cos, sin (P, D/2). The sign
// is 1 in the forward pass and -1 in the backward pass. One block for each token.
KERNEL(256, rotate_f32, float* __restrict__ x, const u32* __restrict__ positions, const float* __restrict__ cos,
       const float* __restrict__ sin, u32 row, u32 heads, u32 head_dim, float sign) {
    rotate(x, positions, cos, sin, row, heads, head_dim, sign);
}

KERNEL(256, rotate_bf16, bf16* __restrict__ x, const u32* __restrict__ positions, const float* __restrict__ cos,
       const float* __restrict__ sin, u32 row, u32 heads, u32 head_dim, float sign) {
    rotate(x, positions, cos, sin, row, heads, head_dim, sign);
}
