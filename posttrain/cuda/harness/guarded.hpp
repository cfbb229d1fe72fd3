// Memory with a guard: it ends (rounded up to 16 bytes) where a page begins that nobody may touch, and what lies before
// and behind it holds a pattern that is looked at when it is given back.
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
    // A page more than needed: there is always room before the memory for the pattern.
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

// Whether nothing outside of it was written.
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
