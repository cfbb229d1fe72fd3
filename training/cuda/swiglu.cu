// SwiGLU: out = silu(gate) up. The backward pass replaces gate and up by their gradients, and the gradient of `out` by
// `out` itself, which was not kept and is needed for the weight gradient of the down projection.
#include "common.cuh"

// 1 / (1 + e^-x), without overflow. What is rounded to bf16 is divided with two units in the last place, which takes half
// the instructions of a division that is rounded to the nearest.
template <class E> __device__ __forceinline__ float sigmoid(float x) {
    const float power = exp_fast(-fabsf(x)), above = x < 0.0f ? power : 1.0f;
    return sizeof(E) == 2 ? divide_fast(above, 1.0f + power) : above / (1.0f + power);
}

template <class E, int COUNT>
__device__ __forceinline__ void gate_forward(E* out, const E* gate_up, u32 tokens, u32 features) {
    const u32 packs = features / COUNT, items = tokens * packs, stride = gridDim.x * blockDim.x;
    for (u32 item = blockIdx.x * blockDim.x + threadIdx.x; item < items; item += stride) {
        const u64 token = item / packs;
        const u32 feature = item % packs * COUNT;
        const E* row = gate_up + token * 2 * features + feature;
        float gate[COUNT], up[COUNT];
        widen(gate, load<COUNT>(row));
        widen(up, load<COUNT>(row + features));
#pragma unroll
        for (int i = 0; i < COUNT; i++) gate[i] = gate[i] * sigmoid<E>(gate[i]) * up[i];
        store(out + token * features + feature, narrow<E>(gate));
    }
}

template <class E, int COUNT>
__device__ __forceinline__ void gate_backward(E* gate_up, E* dout, u32 tokens, u32 features) {
    const u32 packs = features / COUNT, items = tokens * packs, stride = gridDim.x * blockDim.x;
    for (u32 item = blockIdx.x * blockDim.x + threadIdx.x; item < items; item += stride) {
        const u64 token = item / packs;
        const u32 feature = item % packs * COUNT;
        E* row = gate_up + token * 2 * features + feature;
        E* at = dout + token * features + feature;
        float gate[COUNT], up[COUNT], gradient[COUNT];
        widen(gate, load<COUNT>(row));
        widen(up, load<COUNT>(row + features));
        widen(gradient, load<COUNT>(at));
#pragma unroll
        for (int i = 0; i < COUNT; i++) {
            const float g = gate[i], u = up[i], d = gradient[i], s = sigmoid<E>(g);
            gate[i] = d * u * s * multiply_add(g, 1.0f - s, 1.0f);
            up[i] = d * g * s;
            gradient[i] = g * s * u;
        }
        store(row, narrow<E>(gate));
        store(row + features, narrow<E>(up));
        store(at, narrow<E>(gradient));
    }
}

template <class E>
__device__ __forceinline__ void swiglu_forward(E* out, const E* gate_up, u32 tokens, u32 features) {
    constexpr int COUNT = 16 / sizeof(E);
    if (features % COUNT == 0) {
        gate_forward<E, COUNT>(out, gate_up, tokens, features);
    } else {
        gate_forward<E, 1>(out, gate_up, tokens, features);
    }
}

template <class E>
__device__ __forceinline__ void swiglu_backward(E* gate_up, E* dout, u32 tokens, u32 features) {
    constexpr int COUNT = 16 / sizeof(E);
    if (features % COUNT == 0) {
        gate_backward<E, COUNT>(gate_up, dout, tokens, features);
    } else {
        gate_backward<E, 1>(gate_up, dout, tokens, features);
    }
}

// out (T, F) from gate_up (T, 2F), gate first. T F must be below 2^31.
KERNEL(256, swiglu_forward_f32, float* __restrict__ out, const float* __restrict__ gate_up, u32 tokens,
       u32 features) {
    swiglu_forward(out, gate_up, tokens, features);
}

KERNEL(256, swiglu_forward_bf16, bf16* __restrict__ out, const bf16* __restrict__ gate_up, u32 tokens,
       u32 features) {
    swiglu_forward(out, gate_up, tokens, features);
}

// The gradient replaces gate_up (T, 2F), and out replaces dout (T, F).
KERNEL(256, swiglu_backward_f32, float* __restrict__ gate_up, float* __restrict__ dout, u32 tokens, u32 features) {
    swiglu_backward(gate_up, dout, tokens, features);
}

KERNEL(256, swiglu_backward_bf16, bf16* __restrict__ gate_up, bf16* __restrict__ dout, u32 tokens, u32 features) {
    swiglu_backward(gate_up, dout, tokens, features);
}
