// RMSNorm, with the addition to the residual stream before it: v = x + delta, y = w v r, r = 1 / sqrt(mean(v²) + ε),
// and its gradients. A block processes a row; the weights' gradient is summed over several rows by a block, then over
// blocks.
//
// `rows` selects rows of x (T, C): the final norm only needs those that predict a trained token. Then y and dy are (N, C).
#include "common.cuh"

// One row. Its values stay in shared memory between the two passes, because sum may be x.
template <class E, int COUNT>
__device__ __forceinline__ void norm_row(E* y, float* sum, const float* x, const E* delta, const float* w,
                                         u32 channels, float epsilon) {
    float* row = reinterpret_cast<float*>(shared_memory());                        // (C)
    float squares[1] = {0.0f};
    for (u32 c = COUNT * threadIdx.x; c < channels; c += COUNT * blockDim.x) {
        float values[COUNT];
        widen(values, load<COUNT>(x + c));
        if (delta) {
            float added[COUNT];
            widen(added, load<COUNT>(delta + c));
#pragma unroll
            for (int i = 0; i < COUNT; i++) values[i] += added[i];
        }
        if (sum) store(sum + c, narrow<float>(values));
        store(row + c, narrow<float>(values));
#pragma unroll
        for (int i = 0; i < COUNT; i++) squares[0] = multiply_add(values[i], values[i], squares[0]);
    }
    block_sum(squares, row + channels);
    const float scale = 1.0f / sqrtf(squares[0] / static_cast<float>(channels) + epsilon);
    for (u32 c = COUNT * threadIdx.x; c < channels; c += COUNT * blockDim.x) {
        float values[COUNT], weights[COUNT];
        widen(values, load<COUNT>(row + c));
        widen(weights, load<COUNT>(w + c));
#pragma unroll
        for (int i = 0; i < COUNT; i++) values[i] = weights[i] * (values[i] * scale);
        store(y + c, narrow<E>(values));
    }
}

template <class E>
__device__ __forceinline__ void norm_forward(E* y, float* sum, const float* x, const E* delta, const float* w,
                                             const u32* rows, u32 channels, float epsilon) {
    const u64 from = static_cast<u64>(rows ? rows[blockIdx.x] : blockIdx.x) * channels;
    y += static_cast<u64>(blockIdx.x) * channels;
    if (sum) sum += from;
    if (delta) delta += from;
    if (channels % 4 == 0) {
        norm_row<E, 4>(y, sum, x + from, delta, w, channels, epsilon);
    } else {
        norm_row<E, 1>(y, sum, x + from, delta, w, channels, epsilon);
    }
}

// y (N, C), sum (T, C) = x (T, C) + delta (T, C), w (C), rows (N). sum, delta and rows may be null; sum may be x.
// Shared: C floats, 32 floats.
KERNEL(256, norm_forward_f32, float* y, float* sum, const float* x, const float* delta, const float* w,
       const u32* rows, u32 channels, float epsilon) {
    norm_forward(y, sum, x, delta, w, rows, channels, epsilon);
}

KERNEL(256, norm_forward_bf16, bf16* y, float* sum, const float* x, const bf16* delta, const float* w,
       const u32* rows, u32 channels, float epsilon) {
    norm_forward(y, sum, x, delta, w, rows, channels, epsilon);
}

// One row's part of the gradients: dx += dy w r - x (Σ dy x w) r³ / C, dw += dy x r. `dw` is this block's.
template <class E, int COUNT>
__device__ __forceinline__ void norm_row_backward(float* dx, E* dx_copy, float* dw, const E* dy, const float* x,
                                                  const float* w, u32 channels, float epsilon, float* scratch) {
    float sums[2] = {0.0f, 0.0f};                                                  // Σ x², Σ dy x w
    for (u32 c = COUNT * threadIdx.x; c < channels; c += COUNT * blockDim.x) {
        float inputs[COUNT], weights[COUNT], gradients[COUNT];
        widen(inputs, load<COUNT>(x + c));
        widen(weights, load<COUNT>(w + c));
        widen(gradients, load<COUNT>(dy + c));
#pragma unroll
        for (int i = 0; i < COUNT; i++) {
            sums[0] = multiply_add(inputs[i], inputs[i], sums[0]);
            sums[1] = multiply_add(gradients[i] * inputs[i], weights[i], sums[1]);
        }
    }
    block_sum(sums, scratch);
    const float scale = 1.0f / sqrtf(sums[0] / static_cast<float>(channels) + epsilon);
    const float pull = sums[1] * scale * scale * scale / static_cast<float>(channels);
    // The same channels as above, which are still in the L1 cache.
    for (u32 c = COUNT * threadIdx.x; c < channels; c += COUNT * blockDim.x) {
        float inputs[COUNT], weights[COUNT], gradients[COUNT], to[COUNT], dweights[COUNT];
        widen(inputs, load<COUNT>(x + c));
        widen(weights, load<COUNT>(w + c));
        widen(gradients, load<COUNT>(dy + c));
        widen(to, load<COUNT>(dx + c));
        widen(dweights, load<COUNT>(dw + c));
#pragma unroll
        for (int i = 0; i < COUNT; i++) {
            to[i] = multiply_add(gradients[i] * weights[i], scale, multiply_add(-inputs[i], pull, to[i]));
            dweights[i] = multiply_add(gradients[i] * inputs[i], scale, dweights[i]);
        }
        store(dx + c, narrow<float>(to));
        if (dx_copy) store(dx_copy + c, narrow<E>(to));
        store(dw + c, narrow<float>(dweights));
    }
}

// Each thread has its own channels of the shared dw, so no barrier is needed.
template <class E, int COUNT>
__device__ __forceinline__ void norm_rows_backward(float* dx, E* dx_copy, float* partial, const E* dy,
                                                   const float* x, const float* w, const u32* rows, u32 count,
                                                   u32 block_rows, u32 channels, float epsilon) {
    float* dw = reinterpret_cast<float*>(shared_memory());                         // (C)
    for (u32 c = COUNT * threadIdx.x; c < channels; c += COUNT * blockDim.x) {
        const float zeros[COUNT] = {};
        store(dw + c, narrow<float>(zeros));
    }
    const u32 first = blockIdx.x * block_rows, last = min(first + block_rows, count);
    for (u32 n = first; n < last; n++) {
        const u64 at = static_cast<u64>(rows ? rows[n] : n) * channels;
        // Two buffers in turn: a row's sums are read while the next row's are written.
        float* scratch = dw + channels + (n % 2) * 32;
        norm_row_backward<E, COUNT>(dx + at, dx_copy ? dx_copy + at : nullptr, dw,
                                    dy + static_cast<u64>(n) * channels, x + at, w, channels, epsilon, scratch);
    }
    float* out = partial + static_cast<u64>(blockIdx.x) * channels;
    for (u32 c = COUNT * threadIdx.x; c < channels; c += COUNT * blockDim.x) store(out + c, load<COUNT>(dw + c));
}

template <class E>
__device__ __forceinline__ void norm_backward(float* dx, E* dx_copy, float* partial, const E* dy, const float* x,
                                              const float* w, const u32* rows, u32 count, u32 block_rows,
                                              u32 channels, float epsilon) {
    if (channels % 4 == 0) {
        norm_rows_backward<E, 4>(dx, dx_copy, partial, dy, x, w, rows, count, block_rows, channels, epsilon);
    } else {
        norm_rows_backward<E, 1>(dx, dx_copy, partial, dy, x, w, rows, count, block_rows, channels, epsilon);
    }
}

// dx (T, C) += the gradient, dx_copy (T, C) = dx rounded, or null; partial (⌈N / block_rows⌉, C): sums of the weights'
// gradient; dy (N, C), x (T, C), w (C), rows (N) or null. Shared: C floats, 64 floats. A block's rows follow one another,
// each with a barrier, so few rows are spread over more blocks.
KERNEL(256, norm_backward_f32, float* dx, float* dx_copy, float* __restrict__ partial, const float* __restrict__ dy,
       const float* __restrict__ x, const float* __restrict__ w, const u32* __restrict__ rows, u32 count,
       u32 block_rows, u32 channels, float epsilon) {
    norm_backward(dx, dx_copy, partial, dy, x, w, rows, count, block_rows, channels, epsilon);
}

KERNEL(256, norm_backward_bf16, float* dx, bf16* dx_copy, float* __restrict__ partial, const bf16* __restrict__ dy,
       const float* __restrict__ x, const float* __restrict__ w, const u32* __restrict__ rows, u32 count,
       u32 block_rows, u32 channels, float epsilon) {
    norm_backward(dx, dx_copy, partial, dy, x, w, rows, count, block_rows, channels, epsilon);
}

// dw (C) += Σ partial (P, C). A block has 32 channels with 32 threads each; shared: 32 x 33 floats.
KERNEL(1024, norm_backward_weight, float* __restrict__ dw, const float* __restrict__ partial, u32 parts,
       u32 channels) {
    float* sums = reinterpret_cast<float*>(shared_memory());                       // (32, 33)
    const u32 channel = blockIdx.x * 32 + threadIdx.x;
    float sum = 0.0f;
    if (channel < channels) {
        for (u32 part = threadIdx.y; part < parts; part += 32) {
            sum += partial[static_cast<u64>(part) * channels + channel];
        }
    }
    sums[threadIdx.y * 33 + threadIdx.x] = sum;
    __syncthreads();
    // Now each warp sums a channel.
    const float total = warp_sum(sums[threadIdx.x * 33 + threadIdx.y]);
    const u32 summed = blockIdx.x * 32 + threadIdx.y;
    if (threadIdx.x == 0 && summed < channels) dw[summed] += total;
}
