// The checker of watch.hpp. It is compiled without the sanitizer: it is what the sanitizer's reports arrive at.
#include "watch.hpp"

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

namespace lanes {

namespace {

// Where a lane was between barriers.
struct Moment {
    unsigned lane = 0, block = 0, warp = 0;  // `block` and `warp` count barriers; block 0 is before all
};

// What happened to two bytes of shared memory, the smallest access there is.
struct Cell {
    Moment write, read;
    bool many_lanes = false, many_warps = false;  // read by more than `read.lane` since the barriers in `read`
    unsigned copying = 0;                         // 1 + the lane whose copy is on its way
};

struct Range {
    uintptr_t first, end, outer_first, outer_end;
};

struct Copy {
    size_t first, end;
};

// What every access reads first. This TLS model needs no call, and plain numbers no initialization.
struct Quick {
    bool active;
    unsigned lane;
    uintptr_t shared;
    size_t bytes;
    uintptr_t stacks;
    size_t stack_bytes;
};

struct Watch {
    unsigned block_barriers = 1;
    std::vector<unsigned> warp_barriers;
    std::vector<Cell> cells;
    std::vector<Range> buffers;
    std::vector<std::vector<Copy>> copies;
};

thread_local Quick quick __attribute__((tls_model("initial-exec")));
thread_local Watch watch;
// Whether this block is watched at all.
thread_local bool watched = false;

Moment present() { return {quick.lane, watch.block_barriers, watch.warp_barriers[quick.lane / 32]}; }

// Returns whether no barrier is between an earlier moment and this one, for two lanes.
bool is_unordered(const Moment& earlier, const Moment& now) {
    if (earlier.block != now.block || earlier.lane == now.lane) return false;
    return earlier.lane / 32 != now.lane / 32 || earlier.warp == now.warp;
}

[[noreturn]] void fail_at(size_t offset, const char* what, unsigned other, const char* what_other) {
    quick.active = false;
    char message[256];
    std::snprintf(message, sizeof message, "race: %s byte %zu of shared memory, which thread %u %s without a barrier between",
                  what, offset, other, what_other);
    fail_now(message);
}

[[noreturn]] void fail_copy(size_t offset, const char* what, unsigned other) {
    quick.active = false;
    char message[256];
    std::snprintf(message, sizeof message, "race: %s byte %zu of shared memory, to which a copy of thread %u is on its way",
                  what, offset, other);
    fail_now(message);
}

void read_cell(Cell& cell, size_t offset, const Moment& now) {
    if (cell.copying) fail_copy(offset, "reads", cell.copying - 1);
    if (is_unordered(cell.write, now)) fail_at(offset, "reads", cell.write.lane, "wrote");
    const bool same_block = cell.read.block == now.block;
    if (same_block && cell.read.lane / 32 != now.lane / 32) {
        cell.many_warps = true;
        return;
    }
    if (same_block && cell.read.warp == now.warp) {
        cell.many_lanes |= cell.read.lane != now.lane;
        return;
    }
    cell.read = now;
    cell.many_lanes = false;
    if (!same_block) cell.many_warps = false;
}

void write_cell(Cell& cell, size_t offset, const Moment& now, const char* what) {
    if (cell.copying) fail_copy(offset, what, cell.copying - 1);
    if (is_unordered(cell.write, now)) fail_at(offset, what, cell.write.lane, "wrote");
    const Moment& read = cell.read;
    if (read.block == now.block) {
        const bool same_warp = read.lane / 32 == now.lane / 32;
        const bool others = read.lane != now.lane || cell.many_lanes;
        if (cell.many_warps || !same_warp || (read.warp == now.warp && others)) fail_at(offset, what, read.lane, "read");
    }
    cell.write = now;
}

void check_buffers(uintptr_t first, size_t bytes, const char* what) {
    for (const Range& buffer : watch.buffers) {
        if (first < buffer.outer_first || first >= buffer.outer_end) continue;
        if (first >= buffer.first && first + bytes <= buffer.end) return;
        quick.active = false;
        char message[256];
        std::snprintf(message, sizeof message, "out of bounds: %s %zu bytes at %lld of a buffer of %zu bytes", what, bytes,
                      static_cast<long long>(first - buffer.first), static_cast<size_t>(buffer.end - buffer.first));
        fail_now(message);
    }
}

void touch(uintptr_t first, size_t bytes, bool writes) {
    const uintptr_t offset = first - quick.shared;
    if (offset >= quick.bytes || offset + bytes > quick.bytes) {
        return check_buffers(first, bytes, writes ? "writes" : "reads");
    }
    const Moment now = present();
    for (size_t cell = offset / 2; cell < (offset + bytes + 1) / 2; cell++) {
        if (writes) {
            write_cell(watch.cells[cell], 2 * cell, now, "writes");
        } else {
            read_cell(watch.cells[cell], 2 * cell, now);
        }
    }
}

template <bool WRITES> inline void access(const void* at, size_t bytes) {
    const uintptr_t first = reinterpret_cast<uintptr_t>(at);
    // Most accesses are to a lane's own stack.
    if (!quick.active || first - quick.stacks < quick.stack_bytes) return;
    touch(first, bytes, WRITES);
}

}  // namespace

void watch_block(const void* shared, size_t bytes, unsigned lanes) {
    quick.shared = reinterpret_cast<uintptr_t>(shared);
    quick.bytes = bytes;
    watch.block_barriers = 1;
    watch.warp_barriers.assign(lanes / 32, 0);
    watch.cells.assign((bytes + 1) / 2, Cell());
    watch.copies.resize(lanes);
    for (std::vector<Copy>& copies : watch.copies) copies.clear();
    quick.active = watched = true;
}

void watch_stacks(const void* stacks, size_t bytes) {
    quick.stacks = reinterpret_cast<uintptr_t>(stacks);
    quick.stack_bytes = bytes;
}

void watch_nothing() { quick.active = watched = false; }

void watch_pause(bool pauses) {
    if (watched) quick.active = !pauses;
}

void watch_buffer(const void* memory, size_t bytes, const void* outer, size_t outer_bytes) {
    const uintptr_t first = reinterpret_cast<uintptr_t>(memory), around = reinterpret_cast<uintptr_t>(outer);
    watch.buffers.push_back({first, first + bytes, around, around + outer_bytes});
}

void watch_no_buffers() { watch.buffers.clear(); }

void watch_lane(unsigned lane) { quick.lane = lane; }

void watch_block_barrier() { watch.block_barriers++; }

void watch_warp_barrier(unsigned warp) { watch.warp_barriers[warp]++; }

void watch_read(const void* at, size_t bytes) { access<false>(at, bytes); }

void watch_copy(const void* to, size_t bytes) {
    if (!quick.active) return;
    const size_t offset = reinterpret_cast<uintptr_t>(to) - quick.shared;
    if (offset >= quick.bytes || offset + bytes > quick.bytes) {
        return check_buffers(reinterpret_cast<uintptr_t>(to), bytes, "copies");
    }
    const Moment now = present();
    const Copy copy = {offset / 2, (offset + bytes + 1) / 2};
    for (size_t cell = copy.first; cell < copy.end; cell++) {
        write_cell(watch.cells[cell], 2 * cell, now, "copies to");
        watch.cells[cell].copying = 1 + quick.lane;
    }
    watch.copies[quick.lane].push_back(copy);
}

void watch_wait_for_copies() {
    if (!quick.active) return;
    const Moment now = present();
    for (const Copy& copy : watch.copies[quick.lane]) {
        for (size_t cell = copy.first; cell < copy.end; cell++) {
            watch.cells[cell].copying = 0;
            watch.cells[cell].write = now;
        }
    }
    watch.copies[quick.lane].clear();
}

}  // namespace lanes

// What compilers call with -fsanitize=thread, by GCC's and LLVM's sanitizer interface.
#define REPORTED(bytes)                                                                        \
    void __tsan_read##bytes(void* at) { lanes::access<false>(at, bytes); }                     \
    void __tsan_write##bytes(void* at) { lanes::access<true>(at, bytes); }                     \
    void __tsan_unaligned_read##bytes(void* at) { lanes::access<false>(at, bytes); }           \
    void __tsan_unaligned_write##bytes(void* at) { lanes::access<true>(at, bytes); }           \
    void __tsan_volatile_read##bytes(void* at) { lanes::access<false>(at, bytes); }            \
    void __tsan_volatile_write##bytes(void* at) { lanes::access<true>(at, bytes); }            \
    void __tsan_read_write##bytes(void* at) { lanes::access<true>(at, bytes); }                \
    void __tsan_unaligned_read_write##bytes(void* at) { lanes::access<true>(at, bytes); }

extern "C" {
REPORTED(1) REPORTED(2) REPORTED(4) REPORTED(8) REPORTED(16)
void __tsan_read_range(void* at, size_t bytes) { lanes::access<false>(at, bytes); }
void __tsan_write_range(void* at, size_t bytes) { lanes::access<true>(at, bytes); }
void* __tsan_memcpy(void* to, const void* from, size_t bytes) { return std::memcpy(to, from, bytes); }
void* __tsan_memmove(void* to, const void* from, size_t bytes) { return std::memmove(to, from, bytes); }
void* __tsan_memset(void* to, int value, size_t bytes) { return std::memset(to, value, bytes); }
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
// Function-local statics read their guard.
unsigned char __tsan_atomic8_load(const volatile unsigned char* at, int) { return __atomic_load_n(at, __ATOMIC_SEQ_CST); }
int __tsan_atomic32_fetch_add(volatile int* at, int value, int) { return __atomic_fetch_add(at, value, __ATOMIC_SEQ_CST); }
int __tsan_atomic32_load(const volatile int* at, int) { return __atomic_load_n(at, __ATOMIC_SEQ_CST); }
void __tsan_atomic32_store(volatile int* at, int value, int) { __atomic_store_n(at, value, __ATOMIC_SEQ_CST); }
}
