// Threads of a block as fibers: each has a stack of its own and runs until it meets others. The fibers of one launch
// belong to the thread that launched it, so launches of several threads do not disturb one another.
#pragma once

#include "guarded.hpp"
#include "lanes.hpp"

#include <csignal>
#include <cstdio>
#include <deque>
#include <memory>
#include <stdexcept>
#include <vector>

// Switching by hand, where it is known how; LANES_UCONTEXT asks for the C library's way.
#if defined(__x86_64__) && !defined(LANES_UCONTEXT)
#define LANES_SWITCH
#else
#include <ucontext.h>
#endif

namespace lanes {

// Not a power of two: the tops of all stacks would share a few lines of the cache.
constexpr size_t STACK_BYTES = 128 * 1024 + 5 * 64;

// Where a fiber goes on.
#ifdef LANES_SWITCH
// Only what the System V ABI wants kept over a call is saved: a tenth of what swapcontext takes, which also asks the
// kernel for the signal mask.
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
    *--top = nullptr;  // the stack is 16 bytes aligned before the call that never was
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

// One launch, as it was asked for.
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
struct Meeting {
    const char* what = nullptr;
    unsigned arrived = 0;
};

// All that runs now, of this thread of the program.
struct Block {
    const Launch* launch = nullptr;
    std::vector<Lane> lanes;
    std::vector<Meeting> warps;
    Meeting block;
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
    std::abort();  // a failed launch is never gone on with
}

static uint64_t draw() {
    block.random = block.random * 6364136223846793005ull + 1442695040888963407ull;
    return block.random >> 33;
}

// Lanes first..first + count may go on, in the launch's order.
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

// Lets the next lane run, at once: going by way of the scheduler would take twice as long. The scheduler is asked
// where something went wrong or nobody is left.
static void yield() {
    Context& context = block.lanes[block.running].context;
    if (!block.failure.empty() || block.ready.empty()) return switch_context(context, block.scheduler);
    const unsigned next = take_ready();
    if (next == block.running) return;
    block.running = next;
    now.thread = block.lanes[next].thread;
    switch_context(context, block.lanes[next].context);
}

void meet_warp(const char* what, void* argument, void (*perform)(void**)) {
    const unsigned warp = block.running / 32;
    Meeting& meeting = block.warps[warp];
    if (meeting.arrived == 0) meeting.what = what;
    if (meeting.what != what) fail(std::string("waits in ") + what + ", others of its warp in " + meeting.what);
    block.lanes[block.running].argument = argument;
    meeting.arrived++;
    if (meeting.arrived < 32) return yield();
    void* arguments[32];
    for (unsigned lane = 0; lane < 32; lane++) arguments[lane] = block.lanes[32 * warp + lane].argument;
    perform(arguments);
    meeting.arrived = 0;
    make_ready(32 * warp, 32);
    yield();
}

void meet_block() {
    block.block.arrived++;
    if (block.block.arrived == block.lanes.size()) {
        block.block.arrived = 0;
        make_ready(0, static_cast<unsigned>(block.lanes.size()));
    }
    yield();
}

void copy_async(void* to, const void* from, size_t bytes) {
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
}

// What every fiber begins with.
static void begin() {
    block.launch->kernel->call(block.launch->kernel->function, block.launch->arguments);
    Lane& lane = block.lanes[block.running];
    if (!lane.copies.empty()) fail("ends with copies that it did not wait for");
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
        start_context(lane.context, block.stacks.get() + index * STACK_BYTES, begin);
    }
    make_ready(0, static_cast<unsigned>(block.lanes.size()));
    // Nothing of the block before is left to be read.
    std::memset(now.shared, 0xff, launch.shared_bytes);
}

static void run_block(const Launch& launch, Place at) {
    prepare_block(launch, at);
    block.running = take_ready();
    now.thread = block.lanes[block.running].thread;
    switch_context(block.scheduler, block.lanes[block.running].context);
    if (!block.failure.empty()) throw std::runtime_error(block.failure);
    if (block.finished < block.lanes.size()) {
        throw std::runtime_error(who() + ": nobody can go on; " + std::to_string(block.finished) +
                                 " threads have ended, " + std::to_string(block.block.arrived) + " wait for the block");
    }
    if (!guard_holds(now.shared, launch.shared_bytes)) {
        throw std::runtime_error(who() + ": wrote beside its shared memory");
    }
}

// A touch of a guard page ends the program: say whose it was.
static void report_fault(int, siginfo_t* info, void*) {
    char line[512];
    const int length = std::snprintf(line, sizeof line, "%s: touches %p, which is not its memory\n",
                                     block.launch ? who().c_str() : "outside of a kernel", info->si_addr);
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
    for (unsigned z = 0; z < launch.grid_size.z; z++) {
        for (unsigned y = 0; y < launch.grid_size.y; y++) {
            for (unsigned x = 0; x < launch.grid_size.x; x++) run_block(launch, {x, y, z});
        }
    }
}

}  // namespace lanes
