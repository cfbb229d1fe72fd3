// What all attention kernels share: the tiles their blocks take, and where a head lies in a row.
//
// qkv (T, (H + 2K) D): a token's queries, keys and values side by side; query head h reads key head h / (H / K). The
// host cuts the sequences into tiles of TILE_ROWS rows and lists them, so that no block is without work.
#pragma once
#include "common.cuh"

constexpr u32 TILE_ROWS = 128;

// Rows from `first` on, at most TILE_ROWS, of the sequence of tokens start..end.
struct Tile {
    u32 first, start, end;

    // Past the tile's last row.
    __device__ __forceinline__ u32 last() const { return min(first + TILE_ROWS, end); }
};

// The block's tile, of tiles (n, 4): first, start, end, nothing.
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
    // Length of a row of the answer.
    __device__ __forceinline__ u32 answer() const { return queries * dim; }
    // Where a key head's keys and values lie in a row.
    __device__ __forceinline__ u32 key(u32 head) const { return (queries + head) * dim; }
    __device__ __forceinline__ u32 value(u32 head) const { return (queries + keys + head) * dim; }
};
