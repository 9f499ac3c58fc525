// Token and position embeddings.
#ifndef PAMIR_KERNELS_EMBEDDING_EMBEDDING_H_
#define PAMIR_KERNELS_EMBEDDING_EMBEDDING_H_

#include <cstdint>

#include "base/dtype.h"
#include "base/kernel_context.h"
#include "kernels/product/product.h"

namespace pamir::kernels {

// out[t] = row (ids[t] - first_row) of the packed table (kPanels, [vocab shard, width]) where this
// rank holds it, else zeros: the ranks' all-reduce puts them together.
struct GatherArgs {
  const int32_t* ids = nullptr;  // [tokens]
  int64_t tokens = 0;
  Matrix table;
  int64_t first_row = 0;
  float* out = nullptr;  // [tokens][table.in]
};
void GatherRows(const KernelContext& context, const GatherArgs& args);

// x[t] += table[positions[t] + 2].
struct PositionArgs {
  const int32_t* positions = nullptr;  // [tokens]
  int64_t tokens = 0;
  const void* table = nullptr;  // [rows][width], row-major
  DType dtype = DType::kFloat16;
  int64_t width = 0;
  float* x = nullptr;  // [tokens][width]
};
void AddPositions(const KernelContext& context, const PositionArgs& args);

}  // namespace pamir::kernels

#endif  // PAMIR_KERNELS_EMBEDDING_EMBEDDING_H_
