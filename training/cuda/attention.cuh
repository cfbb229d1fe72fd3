// What all attention kernels share: the tiles of their blocks, and the offset of a head in a row.
//
// qkv (T, (H + 2K) D) has a token's queries, keys and values side by side; query head h reads key head h / (H / K). The
// host cuts the sequences into tiles of TILE_ROWS rows and lists them, so that every block has work.
#pragma once
#include "common.cuh"

constexpr u32 TILE_ROWS = 128;

// At most TILE_ROWS rows from `first` on, of the sequence of tokens start..end.
struct Tile {
    u32 first, start, end;

    // The row after the tile's last.
    __device__ __forceinline__ u32 last() const { return min(first + TILE_ROWS, end); }
};

// The block's tile, of tiles (n, 4): first, start, end, 0.
__device__ __forceinline__ Tile read_tile(const u32* tiles) {
    const Pack<u32, 4> tile = load<4>(tiles + 4 * blockIdx.x);
    return {tile.values[0], tile.values[1], tile.values[2]};
}

// The heads of a layer: H query heads, K key heads, D elements each.
struct Heads {
    u32 queries, keys, dim;

    __device__ __forceinline__ u32 group() const { return queries / keys; }
    // Length of a row of qkv.
    __device__ __forceinline__ u32 row() const { return (queries + 2 * keys) * dim; }
    // Length of a row of the attention output.
    __device__ __forceinline__ u32 out_row() const { return queries * dim; }
    // Offsets of a key head's keys and values in a row of qkv.
    __device__ __forceinline__ u32 key(u32 head) const { return (queries + head) * dim; }
    __device__ __forceinline__ u32 value(u32 head) const { return (queries + keys + head) * dim; }
};
