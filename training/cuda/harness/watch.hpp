// Finds races in shared memory, and accesses outside of buffers. Two lanes race if both touch an address, one of them
// writes, and no barrier is between: of the block, or of the warp if both are in it. Shuffles, `ldmatrix` and `mma` order no
// memory (CUDA C++ Programming Guide, "Warp Shuffle Functions"). A copy to shared memory may be touched by nobody until the
// lane that started it has waited for it, and by others after a barrier that follows.
//
// The compiler reports every access: the kernels are compiled with -fsanitize=thread, whose functions watch.cpp defines
// instead of the sanitizer. Which lanes race does not depend on the order in which they run, so only launches of order 0 are
// watched, and those above WATCHED_ORDERS. Without LANES_WATCH all of this is nothing.
#pragma once

#include <cstddef>

namespace lanes {

constexpr unsigned WATCHED_ORDERS = 0x10000;

#ifdef LANES_WATCH
// Starts and ends the watch of a block with this shared memory. Accesses of the program itself are not watched.
void watch_block(const void* shared, size_t bytes, unsigned lanes);
void watch_nothing();
// The lanes' own stacks, which are not looked at.
void watch_stacks(const void* stacks, size_t bytes);
void watch_pause(bool pauses);
// Adds a buffer to those whose ends are watched until `watch_no_buffers`; `outer` is what is mapped around it.
void watch_buffer(const void* memory, size_t bytes, const void* outer, size_t outer_bytes);
void watch_no_buffers();
// The lane that runs from now on.
void watch_lane(unsigned lane);
// All lanes of the block, or of a warp, have met.
void watch_block_barrier();
void watch_warp_barrier(unsigned warp);
// An access that the compiler does not report.
void watch_read(const void* at, size_t bytes);
// A copy starts, and ends when its lane waits for it.
void watch_copy(const void* to, size_t bytes);
void watch_wait_for_copies();
#else
inline void watch_block(const void*, size_t, unsigned) {}
inline void watch_nothing() {}
inline void watch_stacks(const void*, size_t) {}
inline void watch_pause(bool) {}
inline void watch_buffer(const void*, size_t, const void*, size_t) {}
inline void watch_no_buffers() {}
inline void watch_lane(unsigned) {}
inline void watch_block_barrier() {}
inline void watch_warp_barrier(unsigned) {}
inline void watch_read(const void*, size_t) {}
inline void watch_copy(const void*, size_t) {}
inline void watch_wait_for_copies() {}
#endif

// Ends the launch with this message.
[[noreturn]] void fail_now(const char* message);

}  // namespace lanes
