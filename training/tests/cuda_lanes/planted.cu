// Kernels with one error each, and one without, for the test that the harness finds them. Each has 64 threads and 1,024
// bytes of shared memory.

// Every thread reads what its neighbor in the other warp wrote, after the block's barrier.
KERNEL(64, planted_right, float* out, const float* in) {
    float* row = reinterpret_cast<float*>(shared_memory());
    row[threadIdx.x] = in[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = row[(threadIdx.x + 32) % 64];
}

// The same without the barrier.
KERNEL(64, planted_no_barrier, float* out, const float* in) {
    float* row = reinterpret_cast<float*>(shared_memory());
    row[threadIdx.x] = in[threadIdx.x];
    out[threadIdx.x] = row[(threadIdx.x + 32) % 64];
}

// A barrier of the warp does not order what the other warp wrote.
KERNEL(64, planted_warp_barrier, float* out, const float* in) {
    float* row = reinterpret_cast<float*>(shared_memory());
    row[threadIdx.x] = in[threadIdx.x];
    __syncwarp();
    out[threadIdx.x] = row[(threadIdx.x + 32) % 64];
}

// Within a warp it does.
KERNEL(64, planted_right_in_a_warp, float* out, const float* in) {
    float* row = reinterpret_cast<float*>(shared_memory());
    row[threadIdx.x] = in[threadIdx.x];
    __syncwarp();
    out[threadIdx.x] = row[threadIdx.x ^ 1];
}

// A shuffle does not.
KERNEL(64, planted_shuffle, float* out, const float* in) {
    float* row = reinterpret_cast<float*>(shared_memory());
    row[threadIdx.x] = in[threadIdx.x];
    const float other = __shfl_xor_sync(WHOLE_WARP, 1.0f, 1);
    out[threadIdx.x] = other * row[threadIdx.x ^ 1];
}

// Two lanes write one address.
KERNEL(64, planted_two_writers, float* out, const float* in) {
    float* row = reinterpret_cast<float*>(shared_memory());
    row[threadIdx.x / 2] = in[threadIdx.x];
    __syncthreads();
    out[threadIdx.x] = row[threadIdx.x / 2];
}

// The next row is written while other threads still read the one before: a barrier is missing at the end of the loop.
KERNEL(64, planted_no_second_barrier, float* out, const float* in) {
    float* row = reinterpret_cast<float*>(shared_memory());
    for (u32 step = 0; step < 2; step++) {
        row[threadIdx.x] = in[threadIdx.x];
        __syncthreads();
        out[threadIdx.x] = row[63 - threadIdx.x];
    }
}

// The barrier is before the wait instead of after it, so other threads' copies may not have arrived.
KERNEL(64, planted_wait_after_barrier, float* out, const float* in) {
    float* row = reinterpret_cast<float*>(shared_memory());
    copy_4_async(row + threadIdx.x, in + threadIdx.x, true);
    __syncthreads();
    wait_for_copies();
    out[threadIdx.x] = row[63 - threadIdx.x];
}

// No wait at all before the copy is read.
KERNEL(64, planted_no_wait, float* out, const float* in) {
    float* row = reinterpret_cast<float*>(shared_memory());
    copy_4_async(row + threadIdx.x, in + threadIdx.x, true);
    out[threadIdx.x] = row[threadIdx.x];
    wait_for_copies();
}

// Wait, barrier, read.
KERNEL(64, planted_right_copy, float* out, const float* in) {
    float* row = reinterpret_cast<float*>(shared_memory());
    copy_4_async(row + threadIdx.x, in + threadIdx.x, true);
    wait_for_copies();
    __syncthreads();
    out[threadIdx.x] = row[63 - threadIdx.x];
}

// Reads one element behind the buffer of 63, where an allocation is rounded up and nothing would show.
KERNEL(64, planted_read_behind, float* out, const float* in) { out[threadIdx.x] = in[threadIdx.x == 7 ? 63 : 0]; }

// Writes one element before the buffer.
KERNEL(64, planted_write_before, float* out, const float* in) {
    if (threadIdx.x == 0) out[-1] = in[0];
}

// Reads behind the block's shared memory.
KERNEL(64, planted_shared_behind, float* out, const float* in) {
    const float* row = reinterpret_cast<const float*>(shared_memory());
    out[threadIdx.x] = in[threadIdx.x] + row[256];
}
