// The log-probability of each target under its row of logits, and the gradient in place of the logits. A block processes
// a row: one pass for the sums, and one for the gradient while the row is still in the L2 cache.
//
// Rows come a chunk at a time, so that all logits (T, V) never exist at once. The online sums are those of Milakov and
// Gimelshein, arXiv 1805.02867; the entropy is computed in the same way.
#include "common.cuh"

constexpr u32 CROSS_ENTROPY_THREADS = 512;

// Sums over the logits x so far.
struct Sums {
    float maximum;
    float total;     // Σ e^(x - maximum)
    float weighted;  // Σ (x - maximum) e^(x - maximum)
};

__device__ __forceinline__ Sums empty_sums() { return {LOWEST_FLOAT, 0.0f, 0.0f}; }

// Makes the sums relative to a maximum that is at least as large.
__device__ __forceinline__ void raise_to(Sums& sums, float maximum) {
    const float shift = sums.maximum - maximum, factor = exp_fast(shift);
    // Before the first logit the shift may be infinite.
    sums.weighted = sums.total > 0.0f ? multiply_add(shift, sums.total, sums.weighted) * factor : sums.weighted;
    sums.total *= factor;
    sums.maximum = maximum;
}

template <int COUNT> __device__ __forceinline__ void add_logits(Sums& sums, const float (&logits)[COUNT]) {
    float maximum = logits[0];
#pragma unroll
    for (int i = 1; i < COUNT; i++) maximum = fmaxf(maximum, logits[i]);
    if (maximum > sums.maximum) raise_to(sums, maximum);
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
        const float below = logits[i] - sums.maximum, power = exp_fast(below);
        sums.total += power;
        sums.weighted = multiply_add(below, power, sums.weighted);
    }
}

__device__ __forceinline__ void merge(Sums& sums, Sums other) {
    const float maximum = fmaxf(sums.maximum, other.maximum);
    raise_to(sums, maximum);
    raise_to(other, maximum);
    sums.total += other.total;
    sums.weighted += other.weighted;
}

// Merges the sums of the block's threads, in every thread. Shared: three floats for each warp.
__device__ __forceinline__ void merge_block(Sums& sums) {
    Sums* warps = reinterpret_cast<Sums*>(shared_memory());
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) {
        Sums other;
        other.maximum = __shfl_xor_sync(WHOLE_WARP, sums.maximum, distance);
        other.total = __shfl_xor_sync(WHOLE_WARP, sums.total, distance);
        other.weighted = __shfl_xor_sync(WHOLE_WARP, sums.weighted, distance);
        merge(sums, other);
    }
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = sums;
    __syncthreads();
    sums = warps[0];
    for (u32 warp = 1; warp < blockDim.x / 32; warp++) merge(sums, warps[warp]);
}

// Reads COUNT logits from `v` on. What is beyond the vocabulary is not read, and adds nothing to a softmax.
template <class L, int COUNT>
__device__ __forceinline__ void read_logits(float (&values)[COUNT], const L* logits, u32 v, u32 vocabulary) {
    if (v + COUNT <= vocabulary) {
        widen(values, load<COUNT>(logits + v));
        return;
    }
#pragma unroll
    for (int i = 0; i < COUNT; i++) values[i] = v + i < vocabulary ? to_float(logits[v + i]) : LOWEST_FLOAT;
}

template <class L, int COUNT> __device__ __forceinline__ Sums row_sums(const L* logits, u32 vocabulary) {
    Sums sums = empty_sums();
    for (u32 v = COUNT * threadIdx.x; v < vocabulary; v += COUNT * blockDim.x) {
        float values[COUNT];
        read_logits(values, logits, v, vocabulary);
        add_logits(sums, values);
    }
    merge_block(sums);
    return sums;
}

// Where the results go: one element for each row.
struct Results {
    float* log_probability;
    u32* best;
    float* entropy;
};

// Writes the row's results; returns the logarithm of Σ e^x.
template <class L, int COUNT>
__device__ __forceinline__ float row_results(Results results, const L* logits, u32 target, u32 vocabulary) {
    const Sums sums = row_sums<L, COUNT>(logits, vocabulary);
    const float log_total = logf(sums.total);
    if (threadIdx.x == 0) {
        const float logit = to_float(logits[target]);
        results.log_probability[blockIdx.x] = logit - sums.maximum - log_total;
        results.best[blockIdx.x] = logit >= sums.maximum;
        results.entropy[blockIdx.x] = log_total - sums.weighted / sums.total;
    }
    return sums.maximum + log_total;
}

// Writes weight · (softmax - 1 at the target) over the logits. A gradient that is narrower than its logits fills the
// first half of their row: what a step of the block overwrites, the block has read in this step or before. The two types
// share the memory, so the barrier of a step is also what keeps the compiler from moving a store before the loads. The
// last step may write zeros beyond the vocabulary.
template <class L, class G, int COUNT>
__device__ __forceinline__ void row_gradient(L* logits, u32 target, float weight, float log_sum, u32 vocabulary) {
    G* out = reinterpret_cast<G*>(logits);
    const u32 step = COUNT * blockDim.x;
    // Every thread does the same steps, because all of them wait in each.
    for (u32 first = 0; first < vocabulary; first += step) {
        const u32 v = first + COUNT * threadIdx.x;
        float values[COUNT];
        if (v < vocabulary) read_logits(values, logits, v, vocabulary);
        if (sizeof(G) != sizeof(L)) __syncthreads();
        if (v < vocabulary) {
#pragma unroll
            for (int i = 0; i < COUNT; i++) {
                const float one = v + i == target ? weight : 0.0f;
                values[i] = multiply_add(weight, exp_fast(values[i] - log_sum), -one);
            }
            store(out + v, narrow<G>(values));
        }
    }
}

template <class L, int COUNT>
__device__ __forceinline__ void forward_row(Results results, const L* logits, const u32* targets, u32 vocabulary,
                                            u32 stride) {
    const L* row = logits + static_cast<u64>(blockIdx.x) * stride;                 // (V)
    row_results<L, COUNT>(results, row, targets[blockIdx.x], vocabulary);
}

template <class L, class G, int COUNT>
__device__ __forceinline__ void gradient_row(Results results, L* logits, const u32* targets, const float* weights,
                                             u32 vocabulary, u32 stride) {
    L* row = logits + static_cast<u64>(blockIdx.x) * stride;                       // (V)
    const u32 target = targets[blockIdx.x];
    const float log_sum = row_results<L, COUNT>(results, row, target, vocabulary);
    __syncthreads();  // the target's logit has been read
    row_gradient<L, G, COUNT>(row, target, weights[blockIdx.x], log_sum, vocabulary);
}

template <class L>
__device__ __forceinline__ void cross_entropy_forward(Results results, const L* logits, const u32* targets,
                                                      u32 vocabulary, u32 stride) {
    constexpr int COUNT = 16 / sizeof(L);
    if (stride % COUNT == 0) {
        forward_row<L, COUNT>(results, logits, targets, vocabulary, stride);
    } else {
        forward_row<L, 1>(results, logits, targets, vocabulary, stride);
    }
}

template <class L, class G>
__device__ __forceinline__ void cross_entropy_gradient(Results results, L* logits, const u32* targets,
                                                       const float* weights, u32 vocabulary, u32 stride) {
    constexpr int COUNT = 16 / sizeof(L);
    if (stride % COUNT == 0) {
        gradient_row<L, G, COUNT>(results, logits, targets, weights, vocabulary, stride);
    } else {
        gradient_row<L, G, 1>(results, logits, targets, weights, vocabulary, stride);
    }
}

// log_probability, best (0 or 1), entropy (N) from logits (N, V) with rows `stride` apart, and targets (N). One block for
// each row; shared: 16 `Sums`. Rows are read 16 bytes at a time where the stride allows it, whatever V is.
KERNEL(CROSS_ENTROPY_THREADS, cross_entropy_forward_f32, float* log_probability, u32* best, float* entropy,
       const float* logits, const u32* targets, u32 vocabulary, u32 stride) {
    cross_entropy_forward(Results{log_probability, best, entropy}, logits, targets, vocabulary, stride);
}

KERNEL(CROSS_ENTROPY_THREADS, cross_entropy_forward_bf16, float* log_probability, u32* best, float* entropy,
       const bf16* logits, const u32* targets, u32 vocabulary, u32 stride) {
    cross_entropy_forward(Results{log_probability, best, entropy}, logits, targets, vocabulary, stride);
}

// As forward, and the gradient of -Σ weight · log-probability replaces the logits (N, V); weights (N).
KERNEL(CROSS_ENTROPY_THREADS, cross_entropy_gradient_f32, float* log_probability, u32* best, float* entropy,
       float* logits, const u32* targets, const float* weights, u32 vocabulary, u32 stride) {
    cross_entropy_gradient<float, float>(Results{log_probability, best, entropy}, logits, targets, weights, vocabulary,
                                         stride);
}

KERNEL(CROSS_ENTROPY_THREADS, cross_entropy_gradient_bf16, float* log_probability, u32* best, float* entropy,
       bf16* logits, const u32* targets, const float* weights, u32 vocabulary, u32 stride) {
    cross_entropy_gradient<bf16, bf16>(Results{log_probability, best, entropy}, logits, targets, weights, vocabulary,
                                       stride);
}

// As above for f32 logits, with their gradient in bf16: (N, V) with rows twice the stride apart, at the start of each row of logits.
KERNEL(CROSS_ENTROPY_THREADS, cross_entropy_gradient_f32_bf16, float* log_probability, u32* best, float* entropy,
       float* logits, const u32* targets, const float* weights, u32 vocabulary, u32 stride) {
    cross_entropy_gradient<float, bf16>(Results{log_probability, best, entropy}, logits, targets, weights, vocabulary,
                                        stride);
}
