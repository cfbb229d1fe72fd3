// The harness as a library: all kernels, compiled for the CPU, behind four C functions. `lanes_launch` corresponds to
// cuLaunchKernel; `lanes_allocate` returns memory that ends at a page without access, which catches indexes that are too
// large. With LANES_WATCH the kernels are a unit of their own, so that the compiler reports their accesses alone.
#include "fibers.hpp"
#ifndef LANES_WATCH
#include "kernels.cpp"
#endif

#include <map>
#include <mutex>

namespace lanes {

static std::map<std::string, Kernel>& kernels() {
    static std::map<std::string, Kernel> all;
    return all;
}

void add_kernel(const Kernel& kernel) { kernels()[kernel.name] = kernel; }

// Refuses what cuLaunchKernel refuses, and arguments that do not match the kernel, which it cannot check.
static void check_launch(const Kernel& kernel, const Launch& launch, const std::string& signature) {
    const auto refuse = [&](const std::string& why) { throw std::runtime_error(kernel.name + ": " + why); };
    const Place block = launch.block_size, grid = launch.grid_size;
    const unsigned threads = block.x * block.y * block.z;
    if (signature != kernel.signature) refuse("takes " + kernel.signature + ", but was given " + signature);
    if (threads == 0 || threads % 32 != 0) refuse("a block must be whole warps");
    if (threads > kernel.most_threads) {
        refuse("a block has at most " + std::to_string(kernel.most_threads) + " threads");
    }
    if (grid.x == 0 || grid.y == 0 || grid.z == 0) refuse("an empty grid");
    if (grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535) refuse("the grid is too large");
    if (launch.shared_bytes > 99 * 1024) refuse("more shared memory than all GPUs from sm_80 on have");
}

// The buffers of `lanes_allocate`: address and bytes.
struct Buffers {
    std::mutex mutex;
    std::map<unsigned char*, size_t> all;
};

static Buffers& buffers() {
    static Buffers buffers;
    return buffers;
}

// Watches the ends of the buffers that a launch is given.
static void watch_arguments(const Kernel& kernel, void* const* arguments) {
    const std::lock_guard<std::mutex> lock(buffers().mutex);
    watch_no_buffers();
    for (size_t index = 0; index < kernel.signature.size(); index++) {
        if (kernel.signature[index] != 'p') continue;
        const auto after = buffers().all.upper_bound(*static_cast<unsigned char* const*>(arguments[index]));
        if (after == buffers().all.begin()) continue;
        const auto& [memory, bytes] = *std::prev(after);
        const GuardedPages pages = pages_around(memory, bytes);
        watch_buffer(memory, bytes, pages.pages, pages.readable + pages.page);
    }
}

}  // namespace lanes

extern "C" {

// Runs a kernel. `signature` has a letter for each parameter, as in lanes.hpp. `order` is 0 for ascending and 1 for
// descending lanes; more is the seed of a random order. Returns 0; or 1, and writes a message.
int lanes_launch(const char* name, const unsigned* grid, const unsigned* block, size_t shared_bytes,
                 void* const* arguments, const char* signature, unsigned order, char* message, size_t message_bytes) {
    try {
        const auto found = lanes::kernels().find(name);
        if (found == lanes::kernels().end()) throw std::runtime_error(std::string(name) + ": there is no such kernel");
        lanes::Launch launch;
        launch.kernel = &found->second;
        launch.arguments = arguments;
        launch.grid_size = {grid[0], grid[1], grid[2]};
        launch.block_size = {block[0], block[1], block[2]};
        launch.shared_bytes = shared_bytes;
        launch.order = order;
        lanes::check_launch(found->second, launch, signature);
        lanes::watch_arguments(found->second, arguments);
        lanes::run(launch);
        return 0;
    } catch (const std::exception& error) {
        std::snprintf(message, message_bytes, "%s", error.what());
        return 1;
    }
}

// Returns the kernels' names and signatures, one in each line: "name signature".
const char* lanes_kernels() {
    static const std::string lines = [] {
        std::string text;
        for (const auto& entry : lanes::kernels()) text += entry.first + " " + entry.second.signature + "\n";
        return text;
    }();
    return lines.c_str();
}

// Returns memory of `bytes`, every byte 255 (NaN in f32 and bf16), aligned to 16; or null.
void* lanes_allocate(size_t bytes) {
    unsigned char* memory = lanes::allocate_guarded(bytes);
    const std::lock_guard<std::mutex> lock(lanes::buffers().mutex);
    if (memory) lanes::buffers().all[memory] = bytes;
    return memory;
}

// Releases memory. Returns 0, or 1 if bytes before or after it were written.
int lanes_release(void* memory, size_t bytes) {
    {
        const std::lock_guard<std::mutex> lock(lanes::buffers().mutex);
        lanes::buffers().all.erase(static_cast<unsigned char*>(memory));
    }
    return lanes::release_guarded(memory, bytes) ? 0 : 1;
}
}
