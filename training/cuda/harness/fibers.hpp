// Threads of a block as fibers: each has a stack of its own and runs until it must wait for others. The fibers of a launch
// belong to the thread that launched it, so launches of several threads are independent.
#pragma once

#include "guarded.hpp"
#include "lanes.hpp"
#include "watch.hpp"

#include <csignal>
#include <cstdio>
#include <deque>
#include <memory>
#include <stdexcept>
#include <vector>

// On x86-64 contexts are switched in assembly; LANES_UCONTEXT selects the C library's functions.
#if defined(__x86_64__) && !defined(LANES_UCONTEXT)
#define LANES_SWITCH
#else
#include <ucontext.h>
#endif

namespace lanes {

// Not a power of two, for which the tops of all stacks would share a few lines of the cache.
constexpr size_t STACK_BYTES = 128 * 1024 + 5 * 64;

// Where a fiber continues.
#ifdef LANES_SWITCH
// Saves only the registers that the System V ABI preserves over a call. It takes a tenth of the time of swapcontext, which
// also asks the kernel for the signal mask.
struct Context {
    void* stack = nullptr;
};

extern "C" void lanes_switch(void** from, void* to);
asm(R"(
.text
.type lanes_switch, @function
lanes_switch:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
.size lanes_switch, .-lanes_switch
)");

inline void switch_context(Context& from, Context& to) { lanes_switch(&from.stack, to.stack); }

inline void start_context(Context& context, unsigned char* stack, void (*entry)()) {
    void** top = reinterpret_cast<void**>(stack + STACK_BYTES);
    *--top = nullptr;  // aligns the stack to 16 bytes, as before a call
    *--top = reinterpret_cast<void*>(entry);
    context.stack = top - 6;
}
#else
struct Context {
    ucontext_t context;
};

inline void switch_context(Context& from, Context& to) { swapcontext(&from.context, &to.context); }

inline void start_context(Context& context, unsigned char* stack, void (*entry)()) {
    getcontext(&context.context);
    context.context.uc_stack.ss_sp = stack;
    context.context.uc_stack.ss_size = STACK_BYTES;
    context.context.uc_link = nullptr;
    makecontext(&context.context, entry, 0);
}
#endif

// A launch.
struct Launch {
    const Kernel* kernel;
    void* const* arguments;
    Place grid_size, block_size;
    size_t shared_bytes;
    unsigned order;
};

struct Copy {
    void* to;
    const void* from;
    size_t bytes;
};

struct Lane {
    Context context;
    Place thread;
    void* argument = nullptr;
    bool done = false;
    std::vector<Copy> copies;
};

// Lanes that wait for one another.
struct Barrier {
    const char* what = nullptr;
    unsigned arrived = 0;
};

// The block that this thread of the program runs.
struct Block {
    const Launch* launch = nullptr;
    std::vector<Lane> lanes;
    std::vector<Barrier> warps;
    Barrier block;
    std::deque<unsigned> ready;
    unsigned running = 0, finished = 0;
    uint64_t random = 0;
    Context scheduler;
    std::string failure;
    std::unique_ptr<unsigned char[]> stacks;
    size_t stack_count = 0;
};

LANES_LOCAL Now now;
static LANES_LOCAL Block block;

static std::string who() {
    const auto place = [](Place at) {
        return "(" + std::to_string(at.x) + ", " + std::to_string(at.y) + ", " + std::to_string(at.z) + ")";
    };
    return block.launch->kernel->name + ": block " + place(now.block) + ", thread " + place(now.thread);
}

static void yield();

[[noreturn]] void fail(const std::string& message) {
    block.failure = who() + ": " + message;
    yield();
    std::abort();  // a failed launch never continues
}

[[noreturn]] void fail_now(const char* message) { fail(message); }

static uint64_t draw() {
    block.random = block.random * 6364136223846793005ull + 1442695040888963407ull;
    return block.random >> 33;
}

// Lets lanes first..first + count continue, in the launch's order.
static void make_ready(unsigned first, unsigned count) {
    for (unsigned i = 0; i < count; i++) block.ready.push_back(first + i);
}

// The lane to run next. `ready` is a queue, a stack, or a bag.
static unsigned take_ready() {
    size_t at = block.launch->order == 0 ? 0 : block.ready.size() - 1;
    if (block.launch->order > 1) at = draw() % block.ready.size();
    const unsigned lane = block.ready[at];
    if (block.launch->order == 0) {
        block.ready.pop_front();
    } else {
        block.ready[at] = block.ready.back();
        block.ready.pop_back();
    }
    return lane;
}

// Switches to the next lane directly, which takes half the time of a switch through the scheduler. Switches to the
// scheduler after a failure, or when no lane is left.
static void yield() {
    Context& context = block.lanes[block.running].context;
    if (!block.failure.empty() || block.ready.empty()) return switch_context(context, block.scheduler);
    const unsigned next = take_ready();
    if (next == block.running) return;
    block.running = next;
    now.thread = block.lanes[next].thread;
    watch_lane(next);
    switch_context(context, block.lanes[next].context);
}

void wait_for_warp(const char* what, void* argument, void (*perform)(void**), bool orders_memory) {
    const unsigned warp = block.running / 32;
    Barrier& barrier = block.warps[warp];
    if (barrier.arrived == 0) barrier.what = what;
    if (barrier.what != what) fail(std::string("waits in ") + what + ", others of its warp in " + barrier.what);
    block.lanes[block.running].argument = argument;
    barrier.arrived++;
    if (barrier.arrived < 32) return yield();
    void* arguments[32];
    for (unsigned lane = 0; lane < 32; lane++) arguments[lane] = block.lanes[32 * warp + lane].argument;
    // What the instruction reads was reported by the lane that gave the address.
    watch_pause(true);
    perform(arguments);
    watch_pause(false);
    barrier.arrived = 0;
    if (orders_memory) watch_warp_barrier(warp);
    make_ready(32 * warp, 32);
    yield();
}

void wait_for_block() {
    block.block.arrived++;
    if (block.block.arrived == block.lanes.size()) {
        block.block.arrived = 0;
        watch_block_barrier();
        make_ready(0, static_cast<unsigned>(block.lanes.size()));
    }
    yield();
}

void copy_async(void* to, const void* from, size_t bytes) {
    watch_copy(to, bytes);
    const unsigned order = block.launch->order;
    const bool at_once = order == 0 || (order > 1 && draw() % 2 == 0);
    if (at_once) {
        std::memcpy(to, from, bytes);
    } else {
        block.lanes[block.running].copies.push_back({to, from, bytes});
    }
}

void wait_for_copies() {
    std::vector<Copy>& copies = block.lanes[block.running].copies;
    for (const Copy& copy : copies) std::memcpy(copy.to, copy.from, copy.bytes);
    copies.clear();
    watch_wait_for_copies();
}

// The function of every fiber.
static void run_lane() {
    block.launch->kernel->call(block.launch->kernel->function, block.launch->arguments);
    Lane& lane = block.lanes[block.running];
    if (!lane.copies.empty()) fail("ends without waiting for its copies");
    lane.done = true;
    block.finished++;
    yield();
}

static void prepare_block(const Launch& launch, Place at) {
    const Place size = launch.block_size;
    now.block = at;
    block.ready.clear();
    block.finished = 0;
    block.block = {};
    block.warps.assign(block.lanes.size() / 32, {});
    for (unsigned index = 0; index < block.lanes.size(); index++) {
        Lane& lane = block.lanes[index];
        lane.thread = {index % size.x, index / size.x % size.y, index / size.x / size.y};
        lane.done = false;
        lane.copies.clear();
        start_context(lane.context, block.stacks.get() + index * STACK_BYTES, run_lane);
    }
    make_ready(0, static_cast<unsigned>(block.lanes.size()));
    // NaN, so that no block can read what the one before it left.
    std::memset(now.shared, 0xff, launch.shared_bytes);
}

static void run_block(const Launch& launch, Place at) {
    prepare_block(launch, at);
    block.running = take_ready();
    now.thread = block.lanes[block.running].thread;
    if (launch.order == 0 || launch.order > WATCHED_ORDERS) {
        watch_block(now.shared, launch.shared_bytes, static_cast<unsigned>(block.lanes.size()));
    }
    watch_lane(block.running);
    switch_context(block.scheduler, block.lanes[block.running].context);
    watch_nothing();
    if (!block.failure.empty()) throw std::runtime_error(block.failure);
    if (block.finished < block.lanes.size()) {
        throw std::runtime_error(who() + ": deadlock; " + std::to_string(block.finished) +
                                 " threads have ended, " + std::to_string(block.block.arrived) + " wait for the block");
    }
    if (!guard_holds(now.shared, launch.shared_bytes)) {
        throw std::runtime_error(who() + ": wrote outside its shared memory");
    }
}

// An access to a guard page ends the program; reports which thread it was.
static void report_fault(int, siginfo_t* info, void*) {
    char line[512];
    const int length = std::snprintf(line, sizeof line, "%s: accesses %p, which is not its memory\n",
                                     block.launch ? who().c_str() : "outside a kernel", info->si_addr);
    if (write(2, line, static_cast<size_t>(length)) < 0) std::abort();
    std::signal(SIGSEGV, SIG_DFL);
}

inline void run(const Launch& launch) {
    struct sigaction report = {};
    report.sa_sigaction = report_fault;
    report.sa_flags = SA_SIGINFO;
    sigaction(SIGSEGV, &report, nullptr);
    const size_t threads = static_cast<size_t>(launch.block_size.x) * launch.block_size.y * launch.block_size.z;
    if (block.stack_count < threads) {
        block.stacks.reset(new unsigned char[threads * STACK_BYTES]);
        block.stack_count = threads;
    }
    watch_stacks(block.stacks.get(), block.stack_count * STACK_BYTES);
    block.lanes.resize(threads);
    block.launch = &launch;
    block.random = launch.order;
    block.failure.clear();
    now.grid_size = launch.grid_size;
    now.block_size = launch.block_size;
    const auto release = [&](unsigned char* memory) { release_guarded(memory, launch.shared_bytes); };
    const std::unique_ptr<unsigned char, decltype(release)> shared(allocate_guarded(launch.shared_bytes), release);
    if (!shared) throw std::runtime_error("no memory");
    now.shared = shared.get();
    const GuardedPages pages = pages_around(now.shared, launch.shared_bytes);
    watch_buffer(now.shared, launch.shared_bytes, pages.pages, pages.readable + pages.page);
    for (unsigned z = 0; z < launch.grid_size.z; z++) {
        for (unsigned y = 0; y < launch.grid_size.y; y++) {
            for (unsigned x = 0; x < launch.grid_size.x; x++) run_block(launch, {x, y, z});
        }
    }
}

}  // namespace lanes
