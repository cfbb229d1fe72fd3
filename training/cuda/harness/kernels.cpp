// All kernels, compiled for the CPU.

// They use the same shared memory with several types.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("no-strict-aliasing")
#endif

#include "tensor_core.hpp"

#include "../kernels.cu"
#ifdef LANES_PLANTED
#include LANES_PLANTED
#endif
