// How the CPU cuts attention into work: tiles of up to kTileTokens consecutive tokens of one row,
// for one head. A tile's size changes how often K and V are read, never a bit of the result.
#ifndef PAMIR_KERNELS_ATTENTION_ATTENTION_TILE_H_
#define PAMIR_KERNELS_ATTENTION_ATTENTION_TILE_H_

#include <algorithm>
#include <cstdint>

#include "base/units.h"
#include "kernels/attention/attention.h"

namespace pamir::kernels {

inline constexpr int64_t kTileTokens = 8;

struct AttentionTile {
  int64_t row = 0;
  int64_t head = 0;
  int64_t begin = 0;  // tokens begin .. end - 1
  int64_t end = 0;
};

// One thread's scratch. scores: [kTileTokens][score_stride], one float a position; the stride is no
// multiple of 4 KiB, so that a tile's rows do not fight for the same cache sets.
struct TileScratch {
  float* scores = nullptr;
  int64_t score_stride = 0;
  float* queries = nullptr;  // [kTileTokens][head_dim], scaled
};

inline int64_t ScoreStride(int64_t context) {
  return RoundUp(context, kKvBlockTokens) + kKvBlockTokens;
}

inline int64_t TileScratchFloats(int64_t context, int64_t head_dim) {
  return kTileTokens * (ScoreStride(context) + RoundUp(head_dim, kKvBlockTokens));
}

// Cuts each row into tiles of up to tile_tokens and calls body(tile) for the tiles part,
// part + parts, ... of all (row, head, tile), in this order: neighbours cost nearly the same, so
// the parts do too.
template <typename Body>
void ForEachTile(const RowsView& rows, int64_t heads, int64_t tile_tokens, int part, int parts,
                 const Body& body) {
  int64_t first = 0;  // number of the row's first tile
  for (int64_t row = 0; row < rows.rows; ++row) {
    const int64_t begin = rows.row_start[row], end = rows.row_start[row + 1];
    const int64_t tiles = CeilDiv(end - begin, tile_tokens);
    const int64_t skip = (part - first % parts + parts) % parts;
    for (int64_t i = skip; i < heads * tiles; i += parts) {
      const int64_t from = begin + i % tiles * tile_tokens;
      body(AttentionTile{row, i / tiles, from, std::min(from + tile_tokens, end)});
    }
    first += heads * tiles;
  }
}

// Attention of one tile with the machine's vectors. The cache is kFloat32.
void AttendTile(const AttentionArgs& args, const AttentionTile& tile, const TileScratch& scratch);

}  // namespace pamir::kernels

#endif  // PAMIR_KERNELS_ATTENTION_ATTENTION_TILE_H_
