// Checks, the choice of back end, and rows over threads.
#include "kernels/norm/norm.h"

#include "base/check.h"
#include "base/units.h"
#include "kernels/norm/norm_row.h"

namespace pamir::kernels {
namespace {

// Floats below which waking the pool costs more than it saves.
constexpr int64_t kSerialWork = 1 << 14;

void CheckArgs(const NormArgs& args) {
  PAMIR_CHECK(args.rows >= 0 && args.width > 0, "a norm needs a width");
  PAMIR_CHECK(args.rows == 0 || args.x != nullptr, "a norm needs x");
  PAMIR_CHECK(args.rows == 0 || !args.normalize || args.y != nullptr, "a norm needs y");
}

}  // namespace

void AddNorm(const KernelContext& context, const NormArgs& args) {
  CheckArgs(args);
  if (context.backend == Backend::kReference) return AddNormReference(args);
  PAMIR_CHECK(context.pool != nullptr, "the CPU back end needs its pool");
  const int parts = args.rows * args.width < kSerialWork ? 1 : context.pool->threads();
  context.pool->ParallelFor(parts, [&](int part) {
    const Range rows = SplitEvenly({0, args.rows}, parts, part);
    for (int64_t row = rows.begin; row < rows.end; ++row) AddNormRow(args, row);
  });
}

}  // namespace pamir::kernels
