// A stand-in for cuBLAS over the stand-in driver: the functions of it that `src/gpu/cuda/cublas.rs` calls, by cuBLAS's manual.
//
//     c++ -O2 -std=c++17 -fPIC -shared -w blas.cpp -o libcublas.so.13
//
// STANDIN_BLAS_FAIL=FUNCTION makes one of them fail with 13 (execution failed).
#include <dlfcn.h>
#include <link.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

int remember_driver(dl_phdr_info* library, size_t, void* file) {
    if (!std::strstr(library->dlpi_name, "libcuda.so")) return 0;
    *static_cast<std::string*>(file) = library->dlpi_name;
    return 1;
}

// The stand-in driver copies as late as it may, and a product comes after the copies that were queued before it. The driver was
// loaded for its caller alone, so it is looked up among all libraries.
void settle() {
    static void (*const of_driver)() = [] {
        std::string file;
        dl_iterate_phdr(remember_driver, &file);
        void* driver = file.empty() ? nullptr : dlopen(file.c_str(), RTLD_LAZY | RTLD_NOLOAD);
        return driver ? reinterpret_cast<void (*)()>(dlsym(driver, "standin_settle")) : nullptr;
    }();
    if (of_driver) of_driver();
}

int failure(const char* function) {
    const char* name = std::getenv("STANDIN_BLAS_FAIL");
    return name && std::strcmp(name, function) == 0 ? 13 : 0;
}

float widened(const void* from, size_t index, int type) {
    if (type == 0) return static_cast<const float*>(from)[index];
    const unsigned bits = static_cast<unsigned>(static_cast<const unsigned short*>(from)[index]) << 16;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

unsigned short narrowed(float value) {
    unsigned bits;
    std::memcpy(&bits, &value, sizeof bits);
    return value != value ? 0x7fff : static_cast<unsigned short>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

}  // namespace

extern "C" {

int cublasCreate_v2(void** handle) {
    static int one;
    *handle = &one;
    return failure("cublasCreate");
}
int cublasGetVersion_v2(void*, int* version) {
    *version = 130100;
    return failure("cublasGetVersion");
}
int cublasSetStream_v2(void*, void*) { return failure("cublasSetStream"); }
int cublasSetMathMode(void*, int) { return failure("cublasSetMathMode"); }
int cublasSetWorkspace_v2(void*, void*, size_t) { return failure("cublasSetWorkspace"); }

// C (m, n) = op(A) (m, k) op(B) (k, n) + beta C, column-major.
int cublasGemmEx(void*, int turn_a, int turn_b, int m, int n, int k, const float* alpha, const void* a, int a_type,
                 int lda, const void* b, int b_type, int ldb, const float* beta, void* c, int c_type, int ldc, int, int) {
    if (const int status = failure("cublasGemmEx")) return status;
    settle();
    if (lda < (turn_a ? k : m) || ldb < (turn_b ? n : k) || ldc < m) return 7;
    std::vector<float> left(static_cast<size_t>(m) * k);
    for (int i = 0; i < m; i++) {
        for (int l = 0; l < k; l++) {
            const size_t at = turn_a ? l + static_cast<size_t>(i) * lda : i + static_cast<size_t>(l) * lda;
            left[static_cast<size_t>(i) * k + l] = widened(a, at, a_type);
        }
    }
    std::vector<float> right(k);
    for (int j = 0; j < n; j++) {
        for (int l = 0; l < k; l++) {
            const size_t at = turn_b ? j + static_cast<size_t>(l) * ldb : l + static_cast<size_t>(j) * ldb;
            right[l] = widened(b, at, b_type);
        }
        for (int i = 0; i < m; i++) {
            float sum = 0.0f;
            for (int l = 0; l < k; l++) sum += left[static_cast<size_t>(i) * k + l] * right[l];
            const size_t at = i + static_cast<size_t>(j) * ldc;
            const float before = *beta == 0.0f ? 0.0f : *beta * widened(c, at, c_type);
            if (c_type == 0) {
                static_cast<float*>(c)[at] = *alpha * sum + before;
            } else {
                static_cast<unsigned short*>(c)[at] = narrowed(*alpha * sum + before);
            }
        }
    }
    return 0;
}
}
