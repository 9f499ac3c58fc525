// Moving data on CUDA devices: transposes while weights are loaded, copies of KV blocks, and the
// sum over ranks.
//
// All pointers are device memory unless said otherwise. Functions return 0 or a cudaError_t; they
// only enqueue. dependent_launch: see kernels/cuda/launch.cuh.
#ifndef PAMIR_KERNELS_CONVERT_CONVERT_CUDA_H_
#define PAMIR_KERNELS_CONVERT_CONVERT_CUDA_H_

#include <cstdint>

#include "base/stream.h"

namespace pamir::kernels {

// out[c][r] = in[r][c], bits as they are. A part of a matrix goes where it belongs by the pointers
// and strides: rows r0 .. r1 of [hidden][ffn] become columns r0 .. r1 of [ffn][hidden] with out =
// base + r0 and out_stride = hidden. What lies between the strides is not touched.
struct TransposeCudaArgs {
  const void* in = nullptr;  // [rows][in_stride]
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t in_stride = 0;      // elements, >= columns
  void* out = nullptr;        // [columns][out_stride]; must not overlap `in`
  int64_t out_stride = 0;     // elements, >= rows
  int64_t element_bytes = 2;  // 2 or 4
};
int TransposeCuda(const TransposeCudaArgs& args, StreamRef stream);

struct BlockPair {
  int32_t from = 0;
  int32_t to = 0;
};

// Block `to` becomes what block `from` is, in every plane, pair after pair: a pair sees what the
// pairs before it wrote. Planes lie apart; a block begins at block * block_bytes of each.
struct CopyBlocksCudaArgs {
  void* const* planes = nullptr;     // [plane_count]
  int64_t plane_count = 0;           // up to 65535
  int64_t block_bytes = 0;           // a multiple of 16; planes are 16-byte aligned
  const BlockPair* pairs = nullptr;  // [count]
  int64_t count = 0;
  bool dependent_launch = false;
};
int CopyBlocksCuda(const CopyBlocksCudaArgs& args, StreamRef stream);

// out[i] = ((part 0 [i] + part 1 [i]) + part 2 [i]) + ..., fp32, in rank order: one order of
// summation whatever the transport (see engine/comm/communicator.h).
struct RankSumCudaArgs {
  const float* parts = nullptr;  // [ranks][stride], 16-byte aligned
  int64_t ranks = 0;
  int64_t stride = 0;  // elements from one part to the next, >= count; a multiple of 4
  int64_t count = 0;
  float* out = nullptr;  // [count], 16-byte aligned; may be `parts`, no other overlap
  bool dependent_launch = false;
};
int RankSumCuda(const RankSumCudaArgs& args, StreamRef stream);

}  // namespace pamir::kernels

#endif  // PAMIR_KERNELS_CONVERT_CONVERT_CUDA_H_
