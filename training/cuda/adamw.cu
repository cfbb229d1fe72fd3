// AdamW over all tensors at once, and the norm of the gradients. The norm stays on the device: the update reads it there,
// clips by it, and does nothing where it is not finite.
// Source: Loshchilov and Hutter, arXiv 1711.05101, algorithm 2, in the form that PyTorch computes.
#include "common.cuh"

// Blocks of `squared_norm`. Their number decides the order of the sum, so it is the same on all GPUs.
constexpr u32 NORM_BLOCKS = 1024;

// Sums doubles over a block, as block_sum; the result is in thread 0 only. Shared: a double a warp.
__device__ __forceinline__ double block_sum_double(double value) {
    double* scratch = reinterpret_cast<double*>(shared_memory());
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(WHOLE_WARP, value, distance);
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = value;
    __syncthreads();
    double sum = scratch[0];
    for (u32 warp = 1; warp < blockDim.x / 32; warp++) sum += scratch[warp];
    return sum;
}

// partial (1024): sums of the squared gradients (length).
KERNEL(256, squared_norm, double* __restrict__ partial, const float* __restrict__ gradients, u64 length) {
    const u64 stride = static_cast<u64>(gridDim.x) * blockDim.x;
    const u64 thread = static_cast<u64>(blockIdx.x) * blockDim.x + threadIdx.x;
    double sum = 0.0;
    for (u64 i = thread; i < length / 4; i += stride) {
        float values[4];
        widen(values, load<4>(gradients + 4 * i));
        const float left = multiply_add(values[0], values[0], values[1] * values[1]);
        sum += left + multiply_add(values[2], values[2], values[3] * values[3]);
    }
    for (u64 i = length / 4 * 4 + thread; i < length; i += stride) sum += gradients[i] * gradients[i];
    sum = block_sum_double(sum);
    if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

// norm (1) from partial (1024): one block of 1024 threads.
KERNEL(1024, gradient_norm, float* __restrict__ norm, const double* __restrict__ partial) {
    const double sum = block_sum_double(partial[threadIdx.x]);
    if (threadIdx.x == 0) norm[0] = static_cast<float>(sqrt(sum));
}

// The values that all weights of a step share.
struct Step {
    float learning_rate, beta1, beta2, epsilon;
    float keep;   // 1 - learning rate x weight decay
    float rate;   // learning rate / (1 - beta1^step)
    float root;   // 1 / √(1 - beta2^step)
    float scale;  // factor that clips the gradient
};

__device__ __forceinline__ void update(float& weight, float& mean, float& square, float gradient, const Step& step) {
    gradient *= step.scale;
    mean = multiply_add(step.beta1, mean, (1.0f - step.beta1) * gradient);
    square = multiply_add(step.beta2, square, (1.0f - step.beta2) * (gradient * gradient));
    const float divisor = multiply_add(sqrtf(square), step.root, step.epsilon);
    weight = multiply_add(weight, step.keep, -(step.rate * mean / divisor));
}

// The flat buffers, from a chunk's first element on.
// `copy` may be null.
struct Buffers {
    float* weights;
    bf16* copy;
    float* mean;
    float* square;
    const float* gradients;
};

template <int COUNT> __device__ __forceinline__ void update_chunk(Buffers at, u32 from, u32 count, const Step& step) {
    for (u32 i = from + COUNT * threadIdx.x; i + COUNT <= count; i += COUNT * blockDim.x) {
        float weights[COUNT], mean[COUNT], square[COUNT], gradients[COUNT];
        widen(weights, load<COUNT>(at.weights + i));
        widen(mean, load<COUNT>(at.mean + i));
        widen(square, load<COUNT>(at.square + i));
        widen(gradients, load<COUNT>(at.gradients + i));
#pragma unroll
        for (int j = 0; j < COUNT; j++) update(weights[j], mean[j], square[j], gradients[j], step);
        store(at.weights + i, narrow<float>(weights));
        store(at.mean + i, narrow<float>(mean));
        store(at.square + i, narrow<float>(square));
        if (at.copy) store(at.copy + i, narrow<bf16>(weights));
    }
}

// Updates weights, mean and square in place, and writes the weights' bf16 copy unless it is null. Chunk n has `counts[n]`
// weights from `firsts[n]` on, which decay if `decayed[n]`. One block for each chunk.
KERNEL(256, adamw, float* __restrict__ weights, bf16* __restrict__ copy, float* __restrict__ mean,
       float* __restrict__ square, const float* __restrict__ gradients, const u64* __restrict__ firsts,
       const u32* __restrict__ counts, const u32* __restrict__ decayed, const float* __restrict__ norm,
       float learning_rate, float beta1, float beta2, float epsilon, float weight_decay, float rate, float root,
       float max_norm) {
    const float length = norm[0];
    if (!(fabsf(length) <= -LOWEST_FLOAT)) return;
    const float keep = decayed[blockIdx.x] ? 1.0f - learning_rate * weight_decay : 1.0f;
    // As PyTorch's clip_grad_norm_: the small constant avoids a division by 0.
    const float scale = max_norm > 0.0f ? fminf(1.0f, max_norm / (length + 1e-6f)) : 1.0f;
    const Step step = {learning_rate, beta1, beta2, epsilon, keep, rate, root, scale};
    const u64 first = firsts[blockIdx.x];
    const u32 count = counts[blockIdx.x];
    const Buffers at = {weights + first, copy ? copy + first : nullptr, mean + first, square + first,
                        gradients + first};
    const u32 whole = first % 4 == 0 ? count / 4 * 4 : 0;
    update_chunk<4>(at, 0, whole, step);
    update_chunk<1>(at, whole, count, step);
}
