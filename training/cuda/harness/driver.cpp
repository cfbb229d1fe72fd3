// A stand-in for NVIDIA's driver, libcuda.so.1: the functions of it that `src/gpu/cuda` calls, over the harness. A program
// built with the feature `cuda` runs on it as on a GPU, with the same calls in the same order, kernels lane by lane.
//
//     c++ -O2 -std=c++17 -fPIC -shared -w driver.cpp -o libcuda.so.1
//
// Variables of the environment choose what it is and how it fails:
//     STANDIN_VERSION=13000        the CUDA version that it states
//     STANDIN_CAPABILITY=9.0       compute capability
//     STANDIN_DEVICES=1            number of GPUs
//     STANDIN_MEMORY=8589934592    bytes of memory
//     STANDIN_PINNED=1             whether there is pinned memory
//     STANDIN_FAIL_AT=N            the Nth call (from 1) fails, with STANDIN_FAIL_CODE (default 999)
//     STANDIN_FAULT=KERNEL         this kernel faults (700): reported by the launch if CUDA_LAUNCH_BLOCKING is 1, else by a
//                                  later call, as a GPU does
// `standin_fail_at` sets the failing call from within the process, `standin_calls` returns how many there were.
#include "driver_state.hpp"

namespace standin {

// Runs a kernel; a failure is returned by this call or by the ones after it.
static int run(const lanes::Kernel* kernel, const unsigned* grid, const unsigned* block, unsigned shared, void** arguments) {
    State& now = state();
    settle();
    const char* faulty = std::getenv("STANDIN_FAULT");
    char message[512] = "it was asked to";
    int failure = SUCCESS;
    if (faulty && kernel->name == faulty) {
        failure = ILLEGAL_ADDRESS;
    } else if (lanes_launch(kernel->name.c_str(), grid, block, shared, arguments, kernel->signature.c_str(),
                            now.launches++ % 5, message, sizeof message)) {
        failure = LAUNCH_FAILED;
    }
    if (failure == SUCCESS) return SUCCESS;
    std::fprintf(stderr, "stand-in driver: %s fails: %s\n", kernel->name.c_str(), message);
    now.fault = failure;
    return waits_for_launches() ? failure : SUCCESS;
}

}  // namespace standin

#define CALL(...)                                                        \
    std::lock_guard<std::recursive_mutex> lock(standin::state().mutex);  \
    if (const int failure = standin::begin()) return failure

extern "C" {

void standin_fail_at(long call, int code) {
    standin::state().calls = 0;
    standin::state().fail_at = call;
    standin::state().fail_code = code;
    standin::state().fault = 0;
}
long standin_calls() { return standin::state().calls; }

// For the other stand-ins, whose work comes after what was queued before it.
void standin_settle() {
    std::lock_guard<std::recursive_mutex> lock(standin::state().mutex);
    standin::settle();
}

int cuGetErrorName(int code, const char** text) {
    static const std::map<int, const char*> names = {
        {1, "CUDA_ERROR_INVALID_VALUE"},     {2, "CUDA_ERROR_OUT_OF_MEMORY"},    {3, "CUDA_ERROR_NOT_INITIALIZED"},
        {100, "CUDA_ERROR_NO_DEVICE"},       {101, "CUDA_ERROR_INVALID_DEVICE"}, {200, "CUDA_ERROR_INVALID_IMAGE"},
        {500, "CUDA_ERROR_NOT_FOUND"},       {700, "CUDA_ERROR_ILLEGAL_ADDRESS"}, {719, "CUDA_ERROR_LAUNCH_FAILED"},
        {803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"}, {999, "CUDA_ERROR_UNKNOWN"},
    };
    const auto found = names.find(code);
    *text = found == names.end() ? nullptr : found->second;
    return *text ? 0 : standin::INVALID_VALUE;
}
int cuGetErrorString(int code, const char** text) {
    *text = "as the stand-in driver was asked to";
    return 0;
}

int cuDriverGetVersion(int* version) {
    CALL();
    *version = static_cast<int>(standin::number("STANDIN_VERSION", 13000));
    return 0;
}
int cuInit(unsigned) {
    CALL();
    standin::state().initialized = true;
    return standin::number("STANDIN_DEVICES", 1) > 0 ? standin::SUCCESS : standin::NO_DEVICE;
}
int cuDeviceGetCount(int* count) {
    CALL();
    *count = static_cast<int>(standin::number("STANDIN_DEVICES", 1));
    return standin::state().initialized ? standin::SUCCESS : standin::NOT_INITIALIZED;
}
int cuDeviceGet(int* device, int ordinal) {
    CALL();
    *device = ordinal;
    return 0;
}
int cuDeviceGetName(char* text, int length, int) {
    CALL();
    std::snprintf(text, static_cast<size_t>(length), "Stand-in GPU");
    return 0;
}
int cuDeviceGetPCIBusId(char* text, int length, int) {
    CALL();
    std::snprintf(text, static_cast<size_t>(length), "0000:01:00.0");
    return 0;
}
int cuDeviceGetAttribute(int* value, int attribute, int) {
    CALL();
    const char* text = std::getenv("STANDIN_CAPABILITY");
    const std::string capability = text && *text ? text : "9.0";
    switch (attribute) {
        case 75: *value = capability[0] - '0'; break;
        case 76: *value = capability[2] - '0'; break;
        case 13: *value = 1980000; break;
        case 16: *value = 132; break;
        case 36: *value = 3201000; break;
        case 97: *value = 227 * 1024; break;
        default: *value = 1;
    }
    return 0;
}
int cuDevicePrimaryCtxRetain(void** context, int) {
    CALL();
    static int one;
    *context = &one;
    return 0;
}
int cuCtxSetCurrent(void*) {
    CALL();
    return 0;
}
int cuMemGetInfo_v2(size_t* free, size_t* total) {
    CALL();
    *total = static_cast<size_t>(standin::number("STANDIN_MEMORY", 8l << 30));
    *free = *total - standin::state().used;
    return 0;
}
int cuStreamCreate(void** stream, unsigned) {
    CALL();
    static int one;
    *stream = &one;
    return 0;
}
int cuStreamSynchronize(void*) {
    CALL();
    standin::settle();
    return 0;
}
int cuMemHostAlloc(void** memory, size_t bytes, unsigned) {
    CALL();
    if (standin::number("STANDIN_PINNED", 1) == 0) return standin::OUT_OF_MEMORY;
    *memory = std::malloc(bytes);
    standin::state().pinned[static_cast<unsigned char*>(*memory)] = bytes;
    return *memory ? standin::SUCCESS : standin::OUT_OF_MEMORY;
}
int cuMemFreeHost(void* memory) {
    CALL();
    if (!standin::state().late.empty()) return standin::INVALID_VALUE;
    if (!standin::state().pinned.erase(static_cast<unsigned char*>(memory))) return standin::INVALID_VALUE;
    std::free(memory);
    return 0;
}
int cuEventSynchronize(void*) {
    CALL();
    standin::settle();
    return 0;
}
int cuMemAlloc_v2(unsigned long long* address, size_t bytes) {
    CALL();
    return standin::allocate(address, bytes);
}
int cuMemFree_v2(unsigned long long address) {
    CALL();
    return standin::release(address);
}
int cuMemAllocAsync(unsigned long long* address, size_t bytes, void*) {
    CALL();
    return standin::allocate(address, bytes);
}
int cuMemFreeAsync(unsigned long long address, void*) {
    CALL();
    return standin::release(address);
}
int cuMemsetD8Async(unsigned long long address, unsigned char value, size_t bytes, void*) {
    CALL();
    if (!standin::is_memory(address, bytes)) return standin::INVALID_VALUE;
    standin::settle();
    std::memset(reinterpret_cast<void*>(address), value, bytes);
    return 0;
}
int cuMemcpyHtoDAsync_v2(unsigned long long to, const void* from, size_t bytes, void*) {
    CALL();
    if (!standin::is_memory(to, bytes)) return standin::INVALID_VALUE;
    return standin::copy(reinterpret_cast<void*>(to), from, bytes, from);
}
int cuMemcpyDtoHAsync_v2(void* to, unsigned long long from, size_t bytes, void*) {
    CALL();
    if (!standin::is_memory(from, bytes)) return standin::INVALID_VALUE;
    return standin::copy(to, reinterpret_cast<const void*>(from), bytes, to);
}
// A fat binary of nvcc begins with 0xba55ed50, PTX is text.
int cuModuleLoadData(void** module, const void* image) {
    CALL();
    static int one;
    *module = &one;
    unsigned magic;
    std::memcpy(&magic, image, sizeof magic);
    const bool is_text = std::strstr(static_cast<const char*>(image), ".version 7.8") != nullptr;
    return magic == 0xba55ed50u || is_text ? standin::SUCCESS : standin::INVALID_IMAGE;
}
int cuModuleGetFunction(void** function, void*, const char* name) {
    CALL();
    const auto found = lanes::kernels().find(name);
    if (found == lanes::kernels().end()) return standin::NOT_FOUND;
    *function = &found->second;
    return 0;
}
int cuFuncSetAttribute(void*, int, int value) {
    CALL();
    return value <= 227 * 1024 ? standin::SUCCESS : standin::INVALID_VALUE;
}
int cuLaunchKernel(void* function, unsigned x, unsigned y, unsigned z, unsigned threads_x, unsigned threads_y,
                   unsigned threads_z, unsigned shared, void*, void** arguments, void**) {
    CALL();
    const unsigned grid[] = {x, y, z}, block[] = {threads_x, threads_y, threads_z};
    return standin::run(static_cast<const lanes::Kernel*>(function), grid, block, shared, arguments);
}
int cuEventCreate(void** event, unsigned) {
    CALL();
    *event = new standin::Clock::time_point();
    return 0;
}
int cuEventRecord(void* event, void*) {
    CALL();
    *static_cast<standin::Clock::time_point*>(event) = standin::Clock::now();
    return 0;
}
int cuEventElapsedTime(float* milliseconds, void* from, void* to) {
    CALL();
    const auto& start = *static_cast<standin::Clock::time_point*>(from);
    const auto& end = *static_cast<standin::Clock::time_point*>(to);
    *milliseconds = std::chrono::duration<float, std::milli>(end - start).count();
    return 0;
}
}
