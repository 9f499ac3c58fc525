// Checks, the choice of back end, and tokens over threads.
#include "kernels/embedding/embedding.h"

#include <algorithm>

#include "base/check.h"
#include "base/units.h"
#include "kernels/embedding/embedding_rows.h"

namespace pamir::kernels {
namespace {

// Row p of the table belongs to position p - 2: OPT kept fairseq's offset for padding.
constexpr int64_t kPositionOffset = 2;
// Floats below which waking the pool costs more than it saves.
constexpr int64_t kSerialWork = 1 << 13;

// Calls body(token) for all tokens, on the pool where that pays.
template <typename Body>
void ForEachToken(const KernelContext& context, int64_t tokens, int64_t width, const Body& body) {
  int parts = 1;
  if (context.backend == Backend::kCpu) {
    PAMIR_CHECK(context.pool != nullptr, "the CPU back end needs its pool");
    if (tokens * width >= kSerialWork) parts = context.pool->threads();
  }
  const auto run = [&](int part) {
    const Range range = SplitEvenly({0, tokens}, parts, part);
    for (int64_t t = range.begin; t < range.end; ++t) body(t);
  };
  if (parts == 1) return run(0);
  context.pool->ParallelFor(parts, run);
}

}  // namespace

void GatherRows(const KernelContext& context, const GatherArgs& args) {
  PAMIR_CHECK(args.table.layout == WeightLayout::kPanels, "the embedding is packed in panels");
  const auto gather = context.backend == Backend::kReference ? GatherRowReference : GatherRow;
  ForEachToken(context, args.tokens, args.table.in, [&](int64_t t) {
    const int64_t row = args.ids[t] - args.first_row;
    float* out = args.out + t * args.table.in;
    if (row >= 0 && row < args.table.out) {
      gather(args.table, row, out);
    } else {
      std::fill_n(out, args.table.in, 0.0f);
    }
  });
}

void AddPositions(const KernelContext& context, const PositionArgs& args) {
  const auto add = context.backend == Backend::kReference ? AddRowReference : AddRow;
  ForEachToken(context, args.tokens, args.width, [&](int64_t t) {
    PAMIR_CHECK(args.positions[t] >= 0, "positions start at 0");
    add(args.table, args.dtype, args.width, args.positions[t] + kPositionOffset,
        args.x + t * args.width);
  });
}

}  // namespace pamir::kernels
