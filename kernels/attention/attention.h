// Attention over the paged KV cache, and the write into it.
//
// One arithmetic: a query at position p reads keys and values 0 .. p back from the cache as stored.
// score[j] = (one fp32 accumulator over d ascending of fma(q[d] * scale, k[j][d])); softmax in fp32
// with the maximum over all positions; sums over positions run in a fixed order that depends on
// absolute positions only. So prefill, a chunk and decode give the same bits, on any thread count.
#ifndef PAMIR_KERNELS_ATTENTION_ATTENTION_H_
#define PAMIR_KERNELS_ATTENTION_ATTENTION_H_

#include <cstdint>

#include "base/dtype.h"
#include "base/kernel_context.h"

namespace pamir::kernels {

// Positions of a KV block: fixed, because vectors run over the positions of a block.
inline constexpr int64_t kKvBlockTokens = 16;

// One layer's part of the KV pool on this rank.
//   k: [num_blocks][heads][head_dim][16]   (transposed, so that scores are vectors over positions)
//   v: [num_blocks][heads][16][head_dim]
struct KvLayer {
  void* k = nullptr;
  void* v = nullptr;
  DType dtype = DType::kFloat32;  // kFloat32 on CPUs today
  int64_t num_blocks = 0;
  int64_t heads = 0;
  int64_t head_dim = 0;  // any
};

// Bytes of one of k or v.
int64_t KvPlaneBytes(DType dtype, int64_t num_blocks, int64_t heads, int64_t head_dim);

// The step's rows, as flow/step_inputs.h describes them: a row's positions are consecutive. Entries
// of block_table behind a row's last position are not read, nor is cache memory behind a query's
// own.
struct RowsView {
  int64_t tokens = 0;                    // T
  int64_t rows = 0;                      // R
  const int32_t* positions = nullptr;    // [T]
  const int32_t* row_start = nullptr;    // [R + 1]
  const int32_t* block_table = nullptr;  // [R][max_blocks]
  int64_t max_blocks = 0;
};

struct AttentionArgs {
  // [T][qkv_stride]: per token q, then k, then v, each heads * head_dim floats.
  const float* qkv = nullptr;
  int64_t qkv_stride = 0;
  float scale = 1;  // head_dim^-0.5
  RowsView rows;
  KvLayer kv;
  float* out = nullptr;  // [T][out_stride], heads * head_dim floats each
  int64_t out_stride = 0;
  void* scratch = nullptr;  // AttentionScratchBytes(...)
};

// Enough for any call whose positions are below context_max.
int64_t AttentionScratchBytes(int64_t tokens_max, int64_t context_max, int64_t heads,
                              int64_t head_dim, int threads);

// Stores k and v of all T tokens at their positions.
void WriteKv(const KernelContext& context, const AttentionArgs& args);

// For each token, attention over positions 0 .. its own. The step's own keys must have been
// written.
void Attention(const KernelContext& context, const AttentionArgs& args);

void WriteKvReference(const AttentionArgs& args);
void AttentionReference(const AttentionArgs& args);

// Copies block `from` onto block `to` (copy on write of forked sequences).
void CopyKvBlock(const KvLayer& kv, int64_t from, int64_t to);

}  // namespace pamir::kernels

#endif  // PAMIR_KERNELS_ATTENTION_ATTENTION_H_
