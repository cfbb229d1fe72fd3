// Memory with guards: it ends (rounded up to 16 bytes) at a page without access, and the bytes before and after it have a
// pattern that is checked when it is released.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

namespace lanes {

constexpr unsigned char GUARD_PATTERN = 0xa5;

struct GuardedPages {
    unsigned char* pages;
    size_t page, readable;
};

inline GuardedPages pages_of(size_t bytes) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    // One page more than needed, so that there is always room for the pattern before the memory.
    return {nullptr, page, (bytes / page + 2) * page};
}

inline size_t rounded(size_t bytes) { return (bytes + 15) / 16 * 16; }

inline unsigned char* allocate_guarded(size_t bytes) {
    GuardedPages at = pages_of(rounded(bytes));
    void* mapped = mmap(nullptr, at.readable + at.page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) return nullptr;
    at.pages = static_cast<unsigned char*>(mapped);
    mprotect(at.pages + at.readable, at.page, PROT_NONE);
    std::memset(at.pages, GUARD_PATTERN, at.readable);
    unsigned char* memory = at.pages + at.readable - rounded(bytes);
    std::memset(memory, 0xff, bytes);
    return memory;
}

// Returns what is mapped around memory of this size.
inline GuardedPages pages_around(unsigned char* memory, size_t bytes) {
    GuardedPages at = pages_of(rounded(bytes));
    at.pages = memory + rounded(bytes) - at.readable;
    return at;
}

// Returns whether nothing outside the memory was written.
inline bool guard_holds(const unsigned char* memory, size_t bytes) {
    const GuardedPages at = pages_of(rounded(bytes));
    const unsigned char* end = memory + rounded(bytes);
    for (const unsigned char* byte = end - at.readable; byte < end; byte++) {
        if ((byte < memory || byte >= memory + bytes) && *byte != GUARD_PATTERN) return false;
    }
    return true;
}

inline bool release_guarded(void* memory, size_t bytes) {
    const GuardedPages at = pages_of(rounded(bytes));
    unsigned char* start = static_cast<unsigned char*>(memory);
    const bool holds = guard_holds(start, bytes);
    munmap(start + rounded(bytes) - at.readable, at.readable + at.page);
    return holds;
}

}  // namespace lanes
