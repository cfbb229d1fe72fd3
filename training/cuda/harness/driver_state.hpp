// What the stand-in driver remembers: its memory, copies that are still on their way, failures that it was asked for. Part
// of driver.cpp.
#pragma once

#include "lanes.cpp"

#include <chrono>
#include <cstdlib>
#include <mutex>
#include <vector>

namespace standin {

enum Status {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    NOT_FOUND = 500,
    ILLEGAL_ADDRESS = 700,
    LAUNCH_FAILED = 719,
    UNKNOWN = 999,
};

using Clock = std::chrono::steady_clock;

// A copy from or to pinned memory, which is done as late as the driver may do it.
struct LateCopy {
    void* to;
    const void* from;
    size_t bytes;
};

struct State {
    std::recursive_mutex mutex;
    std::map<unsigned long long, size_t> memory;
    std::map<const unsigned char*, size_t> pinned;
    std::vector<LateCopy> late;
    size_t used = 0;
    long calls = 0, fail_at = 0;
    int fail_code = UNKNOWN, fault = SUCCESS;
    unsigned launches = 0;
    bool initialized = false;
};

static State& state() {
    static State state;
    return state;
}

static long number(const char* name, long otherwise) {
    const char* text = std::getenv(name);
    return text && *text ? std::atol(text) : otherwise;
}

// Counts a call. Returns its failure, or that of an earlier kernel.
static int begin() {
    State& now = state();
    static const bool read = [&] {
        now.fail_at = number("STANDIN_FAIL_AT", 0);
        now.fail_code = static_cast<int>(number("STANDIN_FAIL_CODE", UNKNOWN));
        return true;
    }();
    (void)read;
    if (++now.calls == now.fail_at) {
        // What a kernel did is returned by every later call, too.
        if (now.fail_code >= ILLEGAL_ADDRESS && now.fail_code <= LAUNCH_FAILED) now.fault = now.fail_code;
        return now.fail_code;
    }
    return now.fault;
}

static bool waits_for_launches() { return number("CUDA_LAUNCH_BLOCKING", 0) == 1; }

// Returns whether a range is within memory that was allocated.
static bool is_memory(unsigned long long address, size_t bytes) {
    const auto& memory = state().memory;
    auto after = memory.upper_bound(address);
    if (after == memory.begin()) return false;
    const auto& block = *--after;
    return address + bytes <= block.first + block.second;
}

// Does what was queued: before work that follows it, and for those who wait.
static void settle() {
    for (const LateCopy& copy : state().late) std::memcpy(copy.to, copy.from, copy.bytes);
    state().late.clear();
}

static bool is_pinned(const void* at) {
    const auto& pinned = state().pinned;
    auto after = pinned.upper_bound(static_cast<const unsigned char*>(at));
    if (after == pinned.begin()) return false;
    const auto& block = *--after;
    return at < block.first + block.second;
}

// `host` is the end in the host's memory. What is not pinned is copied at once.
static int copy(void* to, const void* from, size_t bytes, const void* host) {
    state().late.push_back({to, from, bytes});
    if (!is_pinned(host)) settle();
    return SUCCESS;
}

static int allocate(unsigned long long* address, size_t bytes) {
    State& now = state();
    const size_t most = static_cast<size_t>(number("STANDIN_MEMORY", 8l << 30));
    if (now.used + bytes > most) return OUT_OF_MEMORY;
    void* memory = lanes::allocate_guarded(bytes);
    if (!memory) return OUT_OF_MEMORY;
    *address = reinterpret_cast<unsigned long long>(memory);
    now.memory[*address] = bytes;
    now.used += bytes;
    return SUCCESS;
}

static int release(unsigned long long address) {
    State& now = state();
    settle();
    const auto found = now.memory.find(address);
    if (found == now.memory.end()) return INVALID_VALUE;
    if (!lanes::release_guarded(reinterpret_cast<void*>(address), found->second)) {
        std::fprintf(stderr, "stand-in driver: a kernel wrote outside its %zu bytes\n", found->second);
        now.fault = ILLEGAL_ADDRESS;
    }
    now.used -= found->second;
    now.memory.erase(found);
    return now.fault;
}

}  // namespace standin
