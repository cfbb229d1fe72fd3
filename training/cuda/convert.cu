// Casts between the element types, and fills: for copies of the weights and constant token weights.
#include "common.cuh"

template <class To, class From> __device__ __forceinline__ void cast(To* out, const From* in, u64 length) {
    const u64 stride = static_cast<u64>(gridDim.x) * blockDim.x;
    const u64 thread = static_cast<u64>(blockIdx.x) * blockDim.x + threadIdx.x;
    const u64 whole = length / 4;
    for (u64 i = thread; i < whole; i += stride) {
        float values[4];
        widen(values, load<4>(in + 4 * i));
        store(out + 4 * i, narrow<To>(values));
    }
    for (u64 i = 4 * whole + thread; i < length; i += stride) out[i] = from_float<To>(to_float(in[i]));
}

// out (length) from in (length), rounded to nearest even.
KERNEL(256, cast_f32_bf16, bf16* __restrict__ out, const float* __restrict__ in, u64 length) {
    cast(out, in, length);
}

KERNEL(256, cast_bf16_f32, float* __restrict__ out, const bf16* __restrict__ in, u64 length) {
    cast(out, in, length);
}

KERNEL(256, fill_f32, float* __restrict__ out, float value, u64 length) {
    const u64 stride = static_cast<u64>(gridDim.x) * blockDim.x;
    for (u64 i = static_cast<u64>(blockIdx.x) * blockDim.x + threadIdx.x; i < length; i += stride) out[i] = value;
}
