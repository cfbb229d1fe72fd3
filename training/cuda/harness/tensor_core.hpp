// The tensor core, the copy unit and the conversions in plain C++. Layouts: PTX ISA, "Matrix Fragments for mma.m16n8k16
// with floating point type", "ldmatrix", "cp.async"; lane l is g = l / 4 and t = l % 4 throughout.
#pragma once

#include "../common.cuh"
#include "watch.hpp"

namespace lanes {

inline float widen_bits(unsigned bits) { return __uint_as_float(bits << 16); }

struct MatrixArgument {
    unsigned* to;
    const unsigned short* row;
};

// Lane l gives row l % 8 of matrix l / 8, and receives two adjacent elements of each matrix: of row g, or of column g.
template <bool TRANSPOSED> void read_matrices(void** arguments) {
    MatrixArgument** all = reinterpret_cast<MatrixArgument**>(arguments);
    for (int lane = 0; lane < 32; lane++) {
        const int g = lane / 4, t = lane % 4;
        for (int matrix = 0; matrix < 4; matrix++) {
            const auto at = [&](int row, int column) -> unsigned { return all[8 * matrix + row]->row[column]; };
            all[lane]->to[matrix] = TRANSPOSED ? at(2 * t, g) | at(2 * t + 1, g) << 16
                                               : at(g, 2 * t) | at(g, 2 * t + 1) << 16;
        }
    }
}

struct ProductArgument {
    float* c;
    const unsigned* a;
    unsigned b[2];
};

inline void multiply_fragments(void** arguments) {
    ProductArgument** all = reinterpret_cast<ProductArgument**>(arguments);
    float a[16][16], b[16][8], c[16][8] = {};
    for (int lane = 0; lane < 32; lane++) {
        const int g = lane / 4, t = lane % 4;
        for (int half = 0; half < 2; half++) {  // the lower and the upper half of a register
            const auto part = [&](unsigned word) { return widen_bits(half == 0 ? word & 0xffff : word >> 16); };
            a[g][2 * t + half] = part(all[lane]->a[0]);
            a[g + 8][2 * t + half] = part(all[lane]->a[1]);
            a[g][2 * t + 8 + half] = part(all[lane]->a[2]);
            a[g + 8][2 * t + 8 + half] = part(all[lane]->a[3]);
            b[2 * t + half][g] = part(all[lane]->b[0]);
            b[2 * t + 8 + half][g] = part(all[lane]->b[1]);
        }
    }
    for (int row = 0; row < 16; row++) {
        for (int k = 0; k < 16; k++) {
            for (int column = 0; column < 8; column++) c[row][column] += a[row][k] * b[k][column];
        }
    }
    for (int lane = 0; lane < 32; lane++) {
        const int g = lane / 4, t = lane % 4;
        for (int i = 0; i < 4; i++) all[lane]->c[i] += c[g + i / 2 * 8][2 * t + i % 2];
    }
}

inline void copy_checked(void* to, const void* from, size_t bytes, bool there) {
    check_aligned(to, bytes);
    check_aligned(from, bytes);
    static const unsigned char zeros[16] = {};
    copy_async(to, there ? from : zeros, bytes);
}

}  // namespace lanes

inline bf16 to_bf16(float x) {
    unsigned bits;
    std::memcpy(&bits, &x, sizeof bits);
    if (x != x) return {0x7fff};
    return {static_cast<unsigned short>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
}

inline unsigned pack_bf16(float low, float high) {
    return to_bf16(low).bits | static_cast<unsigned>(to_bf16(high).bits) << 16;
}

inline void ldmatrix(unsigned (&to)[4], const bf16* row) {
    lanes::check_aligned(row, 16);
    lanes::watch_read(row, 16);
    lanes::MatrixArgument argument = {to, &row->bits};
    lanes::wait_for_warp("ldmatrix", &argument, lanes::read_matrices<false>);
}

inline void ldmatrix_transposed(unsigned (&to)[4], const bf16* row) {
    lanes::check_aligned(row, 16);
    lanes::watch_read(row, 16);
    lanes::MatrixArgument argument = {to, &row->bits};
    lanes::wait_for_warp("ldmatrix.trans", &argument, lanes::read_matrices<true>);
}

inline void mma(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    lanes::ProductArgument argument = {c, a, {b0, b1}};
    lanes::wait_for_warp("mma", &argument, lanes::multiply_fragments);
}

inline void copy_16_async(void* to, const void* from, bool there) { lanes::copy_checked(to, from, 16, there); }
inline void copy_4_async(void* to, const void* from, bool there) { lanes::copy_checked(to, from, 4, there); }
