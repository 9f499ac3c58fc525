#include "kernels/product/product.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "kernels/product/parts.h"

namespace pamir::kernels {
namespace {

// More rows than this are worked on in turns, so that scratch stays small whatever the batch.
constexpr int64_t kRowsAtOnce = 512;
// kPanels: the direct path meets every row tile with four whole panels. It is the faster one while
// all of x stays in a shared cache and those panels in a core's own (measured up to 512 rows); with
// one tile of rows it always is.
constexpr int64_t kDirectInputs = 512 * 1024;  // rows * in
constexpr int64_t kDirectPanelBytes = 512 * 1024;
// kNeurons, many rows: the share of non-zero inputs up to which skipping beats the dense path.
constexpr double kSparseShare = 0.3;
// kNeurons: up to this many rows the time goes to reading weights, whatever the share.
constexpr int64_t kFewRows = 8;
constexpr int64_t kSampledRows = 16;  // rows that the share is estimated from
// kNeurons, one list for all rows: sums that are worked on at once, and the longest stretch of
// outputs. Short stretches are slow (the hardware reads on past their ends), more sums leave L2.
constexpr int64_t kSharedSums = 16 * 1024;
constexpr int64_t kLongestStretch = 2048;
// kNeurons, many rows: outputs that are worked on at once, and how many weights of a block of
// inputs should stay in a core's own cache.
constexpr int64_t kListStretch = 512;
constexpr double kBlockWeights = 128 * 1024;
// Below this many multiplications waking other threads costs more than it saves.
constexpr int64_t kSerialWork = 32 * 1024;

static_assert(kSharedSums + kSharedRows * kSumsGap <= kBlockFloats);
static_assert(kSharedSums / kSharedRows >= kPanelOutputs);

constexpr int64_t kAlign = 64;
int64_t Aligned(int64_t bytes) { return CeilDiv(bytes, kAlign) * kAlign; }

// The parts of scratch, in order: packed x or the lists of non-zero inputs; where in the lists each
// block starts; a block of fp32 weights for each thread.
struct ScratchSizes {
  int64_t x = 0, starts = 0, blocks = 0;
};

ScratchSizes SizesFor(int64_t rows, int64_t in, int threads) {
  const int64_t r = std::min(rows, kRowsAtOnce);
  return {Aligned(r * (in + kListSlack) * static_cast<int64_t>(sizeof(float))),
          Aligned(r * (CeilDiv(in, kBlockK) + 1) * static_cast<int64_t>(sizeof(int32_t))),
          threads * kBlockFloats * static_cast<int64_t>(sizeof(float))};
}

struct Scratch {
  std::byte* x;
  std::byte* starts;
  float* blocks;
};

Scratch Carve(const ProductArgs& a, int threads) {
  const ScratchSizes sizes = SizesFor(a.rows, a.w.in, threads);
  std::byte* base = static_cast<std::byte*>(a.scratch);
  return {base, base + sizes.x, reinterpret_cast<float*>(base + sizes.x + sizes.starts)};
}

void CheckArgs(const KernelContext& context, const ProductArgs& a) {
  PAMIR_CHECK(a.w.out > 0 && a.w.in > 0 && a.rows >= 0,
              absl::StrCat("product of ", a.rows, " rows with weights ", a.w.out, " x ", a.w.in));
  PAMIR_CHECK(a.x_stride >= a.w.in, "x_stride is smaller than the weights' inputs");
  PAMIR_CHECK(a.y_stride >= a.w.out, "y_stride is smaller than the weights' outputs");
  PAMIR_CHECK(a.rows == 0 || (a.x != nullptr && a.y != nullptr && a.w.data != nullptr),
              "x, y or the weights are null");
  if (context.backend == Backend::kReference) return;
  PAMIR_CHECK(context.pool != nullptr, "the CPU back end needs a thread pool");
  PAMIR_CHECK(a.scratch != nullptr && reinterpret_cast<uintptr_t>(a.scratch) % kAlign == 0,
              "scratch is null or not aligned to 64 bytes");
}

void Direct(ThreadPool& pool, const ProductArgs& a, int threads) {
  float* packed = reinterpret_cast<float*>(Carve(a, threads).x);
  const int64_t tiles = CeilDiv(a.rows, TileRows());
  // One tile in every thread's reach is not worth a second wake-up.
  const int packers = static_cast<int>(std::min<int64_t>(threads, tiles));
  pool.ParallelFor(packers, [&](int p) {
    const Range mine = PartOf(tiles, packers, p);
    for (int64_t t = mine.begin; t < mine.end; ++t) PackTile(a, t, packed);
  });
  pool.ParallelFor(threads,
                   [&](int p) { DirectPart(a, packed, PartOf(PanelsOf(a.w), threads, p)); });
}

bool DirectIsFaster(const ProductArgs& a) {
  const int64_t panels = 4 * PackedBytes(a.w.layout, a.w.dtype, kPanelOutputs, a.w.in);
  return a.rows <= TileRows() || (a.rows * a.w.in <= kDirectInputs && panels <= kDirectPanelBytes);
}

// How many parts to cut the rows into, the panels into threads / that: the cut whose largest part
// is smallest.
int64_t RowParts(int64_t tiles, int64_t panels, int64_t threads) {
  int64_t best = 1;
  int64_t best_cost = CeilDiv(panels, threads) * tiles;
  for (int64_t parts = 2; parts <= std::min(threads, tiles); ++parts) {
    const int64_t cost = CeilDiv(panels, threads / parts) * CeilDiv(tiles, parts);
    if (cost < best_cost) {
      best = parts;
      best_cost = cost;
    }
  }
  return best;
}

void Blocks(ThreadPool& pool, const ProductArgs& a, int threads) {
  const Scratch scratch = Carve(a, threads);
  float* packed = reinterpret_cast<float*>(scratch.x);
  const int64_t tiles = CeilDiv(a.rows, TileRows());
  pool.ParallelFor(threads, [&](int p) {
    const Range mine = PartOf(tiles, threads, p);
    for (int64_t t = mine.begin; t < mine.end; ++t) PackTile(a, t, packed);
  });
  const int64_t row_parts = RowParts(tiles, PanelsOf(a.w), threads);
  const int64_t panel_parts = threads / row_parts;
  pool.ParallelFor(static_cast<int>(row_parts * panel_parts), [&](int p) {
    BlocksPart(a, packed, PartOf(PanelsOf(a.w), panel_parts, p % panel_parts),
               PartOf(tiles, row_parts, p / panel_parts), scratch.blocks + p * kBlockFloats);
  });
}

// One list for all rows: each weight is read once.
void NeuronsShared(ThreadPool& pool, const ProductArgs& a, ActiveLists lists, int threads) {
  lists.shared = true;
  lists.count = 1;
  lists.block_k = CeilDiv(a.w.in, kPanelOutputs) * kPanelOutputs;
  lists.blocks = 1;
  lists.stretch = std::min(kLongestStretch, kSharedSums / a.rows / kPanelOutputs * kPanelOutputs);
  Compact(a, lists, 0);
  float* sums = Carve(a, threads).blocks;
  pool.ParallelFor(threads, [&](int p) {
    NeuronsPart(a, lists, PartOf(PanelsOf(a.w), threads, p), sums + p * kBlockFloats);
  });
}

// Many rows have a list each. The weights of a block that any row needs should stay in L2.
void NeuronsEach(ThreadPool& pool, const ProductArgs& a, ActiveLists lists, int threads,
                 double active_share) {
  lists.count = a.rows;
  lists.stretch = kListStretch;
  const double met = std::min(1.0, active_share * static_cast<double>(a.rows)) + 1e-3;
  const int64_t block_k = static_cast<int64_t>(kBlockWeights / kListStretch / met);
  lists.block_k = CeilDiv(block_k, kBlockK) * kBlockK;
  lists.blocks = CeilDiv(a.w.in, lists.block_k);
  pool.ParallelFor(threads, [&](int p) {
    const Range mine = PartOf(a.rows, threads, p);
    for (int64_t r = mine.begin; r < mine.end; ++r) Compact(a, lists, r);
  });
  pool.ParallelFor(
      threads, [&](int p) { NeuronsPart(a, lists, PartOf(PanelsOf(a.w), threads, p), nullptr); });
}

// Share of non-zero inputs, from a few rows spread over the batch.
double ActiveShare(const ProductArgs& a) {
  const int64_t rows = std::min(a.rows, kSampledRows);
  int64_t active = 0;
  for (int64_t i = 0; i < rows; ++i) active += CountActive(a, i * a.rows / rows);
  return static_cast<double>(active) / static_cast<double>(rows * a.w.in);
}

// At most kRowsAtOnce rows. Which path is taken, and by how many threads, never changes a bit.
void ProductCpu(ThreadPool& pool, const ProductArgs& a) {
  const bool small = a.rows * a.w.in * a.w.out <= kSerialWork;
  const int threads = small ? 1 : pool.threads();
  if (a.w.layout == WeightLayout::kPanels) {
    return DirectIsFaster(a) ? Direct(pool, a, threads) : Blocks(pool, a, threads);
  }
  const Scratch scratch = Carve(a, threads);
  ActiveLists lists;
  lists.index = reinterpret_cast<int32_t*>(scratch.x);
  lists.index_stride = a.w.in + kListSlack;
  lists.starts = reinterpret_cast<int32_t*>(scratch.starts);
  if (a.rows <= kFewRows) return NeuronsShared(pool, a, lists, threads);
  const double share = ActiveShare(a);
  if (share <= kSparseShare) return NeuronsEach(pool, a, lists, threads, share);
  if (a.rows <= kSharedRows) return NeuronsShared(pool, a, lists, threads);
  Blocks(pool, a, threads);
}

}  // namespace

int64_t ProductScratchBytes(int64_t rows_max, int64_t in_max, int64_t out_max, int threads) {
  const ScratchSizes sizes = SizesFor(rows_max, in_max, threads);
  return sizes.x + sizes.starts + sizes.blocks;
}

void Product(const KernelContext& context, const ProductArgs& args) {
  CheckArgs(context, args);
  if (context.backend == Backend::kReference) return ProductReference(args);
  const int64_t turns = CeilDiv(args.rows, kRowsAtOnce);
  for (int64_t turn = 0; turn < turns; ++turn) {
    const Range rows = PartOf(args.rows, turns, turn);
    ProductArgs some = args;
    some.rows = rows.size();
    some.x += rows.begin * args.x_stride;
    some.y += rows.begin * args.y_stride;
    ProductCpu(*context.pool, some);
  }
}

}  // namespace pamir::kernels
