// Token and position embeddings on CUDA devices, and picking rows for the LM head.
#ifndef PAMIR_KERNELS_EMBEDDING_EMBEDDING_CUDA_H_
#define PAMIR_KERNELS_EMBEDDING_EMBEDDING_CUDA_H_

#include <cstdint>

#include "base/dtype.h"
#include "base/stream.h"

namespace pamir::kernels {

// out[t] = E[id - first_row] where this rank holds that row, else zeros (the ranks' all-reduce puts
// them together), + P[positions[t] + 2] where positions are given. Sums in fp32.
//
// id = ids[t] where that is not negative, else sampled[-1 - ids[t]]: a decode row takes the token
// that the step before left in its slot, so that the host need not know it.
// All pointers are device memory; widths are multiples of 4, rows 16-byte aligned.
struct EmbedCudaArgs {
  const int32_t* ids = nullptr;      // [tokens]
  const int32_t* sampled = nullptr;  // [slots], or null where no id is negative
  int64_t tokens = 0;
  int64_t width = 0;
  const void* table = nullptr;  // [table_rows][width] of table_type
  DType table_type = DType::kFloat16;
  int64_t first_row = 0;  // this rank's part of the vocabulary
  int64_t table_rows = 0;
  const int32_t* positions = nullptr;    // [tokens], or null: no positions are added
  const void* position_table = nullptr;  // [rows][width] of table_type
  void* out = nullptr;                   // [tokens][width] of out_type
  DType out_type = DType::kFloat32;
  bool dependent_launch = false;
};
int EmbedCuda(const EmbedCudaArgs& args, StreamRef stream);

// x[t] += P[positions[t] + 2]: for models whose token embeddings are projected first.
struct AddPositionsCudaArgs {
  const int32_t* positions = nullptr;
  int64_t tokens = 0;
  int64_t width = 0;
  const void* table = nullptr;
  DType table_type = DType::kFloat16;
  float* x = nullptr;  // [tokens][width]
  bool dependent_launch = false;
};
int AddPositionsCuda(const AddPositionsCudaArgs& args, StreamRef stream);

// out[i] = in[rows[i]], bytes as they are: the rows that the LM head needs.
struct PickRowsCudaArgs {
  const void* in = nullptr;
  const int32_t* rows = nullptr;  // [count]
  int64_t count = 0;
  int64_t row_bytes = 0;  // a multiple of 16
  void* out = nullptr;
  bool dependent_launch = false;
};
int PickRowsCuda(const PickRowsCudaArgs& args, StreamRef stream);

// sampled[slots[i]] = tokens[i]: tokens that this rank did not draw itself, for EmbedCuda. The
// slots of a call are distinct.
struct ScatterTokensCudaArgs {
  const int32_t* tokens = nullptr;  // [count]
  const int32_t* slots = nullptr;   // [count]
  int64_t count = 0;
  int32_t* sampled = nullptr;
  bool dependent_launch = false;
};
int ScatterTokensCuda(const ScatterTokensCudaArgs& args, StreamRef stream);

}  // namespace pamir::kernels

#endif  // PAMIR_KERNELS_EMBEDDING_EMBEDDING_CUDA_H_
