// The CUDA language on a CPU, as far as the kernels use it: this header replaces nvcc where a C++ compiler reads them.
// Every thread of a block is a fiber that runs until it must wait for others, blocks run one after another, and what the
// tensor core and the copy unit do is plain C++ by the layouts of the PTX ISA.
//
// It finds errors for which no GPU is needed: wrong indexes, wrong layouts, barriers that are missing or not reached by
// all threads, reads of copies that have not arrived. Fibers can run in several orders, and the results must have the
// same bits; with LANES_WATCH (watch.hpp) every access to shared memory is also checked for races.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

#define __device__
#define __forceinline__ inline

struct bf16;

struct alignas(16) uint4 {
    unsigned x, y, z, w;
};

namespace lanes {

// threadIdx, blockIdx, blockDim and gridDim.
struct Place {
    unsigned x = 1, y = 1, z = 1;
};

// The indexes of the fiber that runs.
struct Now {
    Place thread, block, block_size, grid_size;
    unsigned char* shared = nullptr;
};
// This TLS model is the fastest to access from a library; it always has room for a few hundred bytes.
#define LANES_LOCAL thread_local __attribute__((tls_model("initial-exec")))
extern LANES_LOCAL Now now;

// Ends the launch with this message.
[[noreturn]] void fail(const std::string& message);

// Wait for the other lanes of the warp, or threads of the block. The last lane calls `perform` with the arguments of all.
// Only __syncwarp orders what the lanes wrote to memory.
void wait_for_warp(const char* what, void* argument, void (*perform)(void** arguments), bool orders_memory = false);
void wait_for_block();

// Copies to shared memory, at once or in `wait_for_copies`, depending on the order of the launch.
void copy_async(void* to, const void* from, size_t bytes);
void wait_for_copies();

inline void check_aligned(const void* at, size_t bytes) {
    if (reinterpret_cast<uintptr_t>(at) % bytes == 0) return;
    fail("an access of " + std::to_string(bytes) + " bytes is not aligned");
}

// A letter for each type of parameter: p pointer, u u32, l u64, f f32.
template <class T> constexpr char letter(T*) { return 'p'; }
constexpr char letter(unsigned) { return 'u'; }
constexpr char letter(unsigned long long) { return 'l'; }
constexpr char letter(float) { return 'f'; }

using Call = void (*)(void (*kernel)(), void* const* arguments);

// A kernel.
struct Kernel {
    std::string name, signature;
    unsigned most_threads;
    void (*function)();
    Call call;
};
void add_kernel(const Kernel& kernel);

template <class... Parameters, size_t... Index>
void call_with(void (*kernel)(Parameters...), void* const* arguments, std::index_sequence<Index...>) {
    kernel(*static_cast<std::remove_cv_t<Parameters>*>(arguments[Index])...);
}

template <class... Parameters> void call_typed(void (*kernel)(), void* const* arguments) {
    call_with(reinterpret_cast<void (*)(Parameters...)>(kernel), arguments, std::index_sequence_for<Parameters...>());
}

struct Registered {
    template <class... Parameters>
    Registered(const char* name, unsigned most_threads, void (*kernel)(Parameters...)) {
        const std::string signature{letter(Parameters())...};
        add_kernel({name, signature, most_threads, reinterpret_cast<void (*)()>(kernel), call_typed<Parameters...>});
    }
};

}  // namespace lanes

#define KERNEL(threads, name, ...)                                        \
    void name(__VA_ARGS__);                                               \
    static const lanes::Registered registered_##name(#name, threads, &name); \
    void name(__VA_ARGS__)

#define threadIdx (lanes::now.thread)
#define blockIdx (lanes::now.block)
#define blockDim (lanes::now.block_size)
#define gridDim (lanes::now.grid_size)

inline unsigned char* shared_memory() { return lanes::now.shared; }
inline void __syncthreads() { lanes::wait_for_block(); }
inline void __syncwarp() {
    lanes::wait_for_warp("__syncwarp", nullptr, [](void**) {}, true);
}

template <class T> T __shfl_xor_sync(unsigned mask, T value, int distance) {
    struct Argument {
        T value;
        int distance;
        T received;
    } argument = {value, distance, value};
    if (mask != 0xffffffffu) lanes::fail("a shuffle of part of a warp");
    lanes::wait_for_warp("__shfl_xor_sync", &argument, [](void** arguments) {
        Argument** all = reinterpret_cast<Argument**>(arguments);
        for (int lane = 0; lane < 32; lane++) {
            if (all[lane]->distance != all[0]->distance) lanes::fail("lanes shuffle over different distances");
            all[lane]->received = all[lane ^ all[0]->distance]->value;
        }
    });
    return argument.received;
}

inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }

inline float __uint_as_float(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

// Instructions of the device: conversions, 2^x.
bf16 to_bf16(float x);
unsigned pack_bf16(float low, float high);
inline float exp2_fast(float x) { return x < -126.0f ? 0.0f : std::exp2(x); }
inline float divide_fast(float a, float b) { return a / b; }

// The tensor core and the copy unit; tensor_core.cuh documents each function.
void ldmatrix(unsigned (&to)[4], const bf16* row);
void ldmatrix_transposed(unsigned (&to)[4], const bf16* row);
void mma(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1);
void copy_16_async(void* to, const void* from, bool there);
void copy_4_async(void* to, const void* from, bool there);
inline void wait_for_copies() { lanes::wait_for_copies(); }
