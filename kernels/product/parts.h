// The parts that Product hands to threads. Inner to this folder.
//
// Three ways through a product; all give the bits of ProductReference:
//   direct  (direct.cc)   kPanels: weights are used as they stream in from memory.
//   blocks  (blocks.cc)   many rows: blocks of weights become fp32 in cache, then meet tiles of
//   rows. rows. neurons (neurons.cc)  kNeurons, mostly zero inputs: only the weights of non-zero
//   inputs are read.
#ifndef PAMIR_KERNELS_PRODUCT_PARTS_H_
#define PAMIR_KERNELS_PRODUCT_PARTS_H_

#include <algorithm>
#include <cstdint>

#include "kernels/product/product.h"

namespace pamir::kernels {

struct Range {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
};

// Part p of `parts` nearly equal contiguous parts of 0 .. n - 1.
inline Range PartOf(int64_t n, int64_t parts, int64_t p) {
  return {n * p / parts, n * (p + 1) / parts};
}

inline int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t PanelsOf(const Matrix& w) { return CeilDiv(w.out, kPanelOutputs); }

// Rows of a full register tile on this machine. Rows are cut into tiles of this many and a rest.
int TileRows();

// Copies row tile `tile` of x to `packed` as [k][rows of the tile], so that a tile's values lie
// together whatever x_stride is. Small tiles are left out: the kernels read those from x itself.
void PackTile(const ProductArgs& args, int64_t tile, float* packed);

// Weight blocks of the blocks path: kBlockPanels panels of kBlockK inputs, as fp32.
inline constexpr int64_t kBlockPanels = 8;
inline constexpr int64_t kBlockK = 256;
inline constexpr int64_t kBlockFloats = kBlockPanels * kBlockK * kPanelOutputs;

// All rows, outputs of `panels`. kPanels only.
void DirectPart(const ProductArgs& args, const float* packed, Range panels);

// Rows of `tiles`, outputs of `panels`. `block` holds kBlockFloats, this thread's own.
void BlocksPart(const ProductArgs& args, const float* packed, Range panels, Range tiles,
                float* block);

// Lists of inputs that are not zero, ascending, and where in a list each block of inputs starts.
// Either one list for all rows (at most kSharedRows; an input is left out where all rows are zero),
// or a list for each row.
struct ActiveLists {
  bool shared = false;        // one list
  int64_t count = 0;          // of lists: 1 or rows
  int64_t block_k = 0;        // inputs of a block, a multiple of 16
  int64_t blocks = 0;         // CeilDiv(in, block_k)
  int64_t stretch = 0;        // outputs that are worked on at once, a multiple of 16
  int32_t* index = nullptr;   // [count][index_stride]
  int64_t index_stride = 0;   // in + kListSlack or more
  int32_t* starts = nullptr;  // [count][blocks + 1]
};
inline constexpr int64_t kSharedRows = 32;
inline constexpr int64_t kListSlack = 16;  // a list is written a vector at a time

// Writes list number `list`.
void Compact(const ProductArgs& args, const ActiveLists& lists, int64_t list);

// Non-zero inputs of row r.
int64_t CountActive(const ProductArgs& args, int64_t r);

// All rows, outputs of `panels`. kNeurons only. `sums`: rows * (stretch + kSumsGap) of this
// thread's own where the list is shared.
inline constexpr int64_t kSumsGap = 32;
void NeuronsPart(const ProductArgs& args, const ActiveLists& lists, Range panels, float* sums);

}  // namespace pamir::kernels

#endif  // PAMIR_KERNELS_PRODUCT_PARTS_H_
