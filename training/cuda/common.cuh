// What all kernels use: the two element types, accesses to several elements at once, sums over warps and blocks.
//
// A C++ compiler compiles the same sources for the CPU, with harness/lanes.hpp in place of the CUDA language. So whatever
// only the device can do is behind a function of this file or of tensor_core.cuh.
#pragma once

#ifdef __CUDACC__
// Defines a kernel with an unmangled name, for blocks of up to `threads` threads.
#define KERNEL(threads, name, ...) extern "C" __global__ void __launch_bounds__(threads) name(__VA_ARGS__)
#else
#include "harness/lanes.hpp"
#endif

typedef unsigned int u32;
typedef unsigned long long u64;

// A bf16 in memory: the upper half of a float.
struct alignas(2) bf16 {
    unsigned short bits;
};

constexpr float LOG2_E = 1.4426950408889634f;
constexpr float LN_2 = 0.6931471805599453f;
constexpr float LOWEST_FLOAT = -3.402823466e38f;

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(bf16 x) { return __uint_as_float(static_cast<u32>(x.bits) << 16); }

#ifdef __CUDACC__
// Rounds to nearest, ties to even. PTX ISA, "cvt": .bf16 and .bf16x2 (first operand to the upper half), sm_80.
__device__ __forceinline__ u32 pack_bf16(float low, float high) {
    u32 packed;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
}

__device__ __forceinline__ bf16 to_bf16(float x) {
    bf16 rounded;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(rounded.bits) : "f"(x));
    return rounded;
}

// 2^x, 0 below -126. PTX ISA, "ex2": two units in the last place.
__device__ __forceinline__ float exp2_fast(float x) {
    float power;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x));
    return power;
}

// a / b for b below 2^126. CUDA C++ Programming Guide, "Intrinsic Functions": two units in the last place.
__device__ __forceinline__ float divide_fast(float a, float b) { return __fdividef(a, b); }

__device__ __forceinline__ unsigned char* shared_memory() {
    extern __shared__ __align__(128) unsigned char dynamic_shared[];
    return dynamic_shared;
}
#endif

// a b + c, rounded once. nvcc is told to fuse nothing by itself (build.rs), so that machine code for one GPU, for another, and
// PTX that a driver compiles have the same results; what should be one operation is written with this.
__device__ __forceinline__ float multiply_add(float a, float b, float c) {
#ifdef __CUDACC__
    return __fmaf_rn(a, b, c);
#else
    return a * b + c;
#endif
}

__device__ __forceinline__ float exp_fast(float x) { return exp2_fast(x * LOG2_E); }

template <class E> struct FromFloat;
template <> struct FromFloat<float> {
    static __device__ __forceinline__ float round(float x) { return x; }
};
template <> struct FromFloat<bf16> {
    static __device__ __forceinline__ bf16 round(float x) { return to_bf16(x); }
};
template <class E> __device__ __forceinline__ E from_float(float x) { return FromFloat<E>::round(x); }

// COUNT adjacent elements that are read or written at once; their address must be a multiple of their total size.
template <class E, int COUNT> struct alignas(sizeof(E) * COUNT) Pack {
    E values[COUNT];
};

template <int COUNT, class E> __device__ __forceinline__ Pack<E, COUNT> load(const E* from) {
#ifndef __CUDACC__
    lanes::check_aligned(from, sizeof(E) * COUNT);
#endif
    return *reinterpret_cast<const Pack<E, COUNT>*>(from);
}

template <int COUNT, class E> __device__ __forceinline__ void store(E* to, const Pack<E, COUNT>& pack) {
#ifndef __CUDACC__
    lanes::check_aligned(to, sizeof(E) * COUNT);
#endif
    *reinterpret_cast<Pack<E, COUNT>*>(to) = pack;
}

template <class E, int COUNT>
__device__ __forceinline__ void widen(float (&to)[COUNT], const Pack<E, COUNT>& from) {
#pragma unroll
    for (int i = 0; i < COUNT; i++) to[i] = to_float(from.values[i]);
}

// Reads COUNT floats, four at a time: the most that one access can read.
template <int COUNT> __device__ __forceinline__ void load_floats(float (&to)[COUNT], const float* from) {
    constexpr int STEP = COUNT < 4 ? COUNT : 4;
#pragma unroll
    for (int i = 0; i < COUNT; i += STEP) {
        const Pack<float, STEP> part = load<STEP>(from + i);
#pragma unroll
        for (int j = 0; j < STEP; j++) to[i + j] = part.values[j];
    }
}

template <class E, int COUNT> __device__ __forceinline__ Pack<E, COUNT> narrow(const float (&from)[COUNT]) {
    Pack<E, COUNT> to;
#pragma unroll
    for (int i = 0; i < COUNT; i++) to.values[i] = from_float<E>(from[i]);
    return to;
}

constexpr u32 WHOLE_WARP = 0xffffffffu;

// Sums over a warp by a tree; the result is in every lane.
__device__ __forceinline__ float warp_sum(float value) {
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(WHOLE_WARP, value, distance);
    return value;
}

__device__ __forceinline__ float warp_maximum(float value) {
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) {
        value = fmaxf(value, __shfl_xor_sync(WHOLE_WARP, value, distance));
    }
    return value;
}

// Sums over a block by a tree in each warp, then warp by warp; the result is in every thread. `scratch` has COUNT floats
// for each warp and may only be written again after another __syncthreads.
template <int COUNT> __device__ __forceinline__ void block_sum(float (&values)[COUNT], float* scratch) {
    const u32 warp = threadIdx.x / 32, warps = blockDim.x / 32;
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
        values[i] = warp_sum(values[i]);
        if (threadIdx.x % 32 == 0) scratch[warp * COUNT + i] = values[i];
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
        values[i] = scratch[i];
        for (u32 other = 1; other < warps; other++) values[i] += scratch[other * COUNT + i];
    }
}
