// Attention over the paged KV cache on CUDA devices, and the write into it. fp16 in, fp16 cache (or
// one in fp8, which is read as fp16), fp32 scores, maxima and sums, fp16 or bf16 out; or all of it
// in float32, by plain slow kernels with rules of their own (attention_float32.cu).
//
// One arithmetic. For a query at position p, keys 0 .. p, read back from the cache:
//   score[j]  = one fp32 accumulator, tensor-core steps of 16 over d ascending
//   Tiles of kTileKeys positions, from position 0: the running maximum m, then
//     a = exp2((m_old - m) c), P[j] = exp2(score[j] c - m c), c = scale * log2(e);
//     l = l a + sum of P; o = o a + P V, P rounded to fp16, steps of 16 positions ascending
//   Splits of kSplitKeys positions, from position 0, begin with m = -inf, l = 0, o = 0 and are
//   added, in ascending order, into (M, L, O) by the same rule; out = O / L.
// Tiles and splits depend on positions alone and prefill, chunk and decode share the code of each
// rule, so a token's bits do not depend on which of them computed it. Keys behind p have P = 0 and
// finite V: they add exactly nothing. What the cache holds behind a row's last position counts for
// nothing, NaN neither; of its last block it may be read.
//
// Shared memory of a block of threads, per element of the padded head dim: 768 bytes (decode), 1
// KiB (prefill of 64, 80, 128; up to 224 KiB in all on 9.0). Where the device has less the launch
// fails with an error: 9.0 takes all head dims, 8.0 those up to 208, 8.6 and 8.9 no prefill of
// 128, 7.5 only decode of up to 80.
//
// All pointers are device memory. Functions return 0 or a cudaError_t; they only enqueue.
#ifndef PAMIR_KERNELS_ATTENTION_ATTENTION_CUDA_H_
#define PAMIR_KERNELS_ATTENTION_ATTENTION_CUDA_H_

#include <cstdint>

#include "base/dtype.h"
#include "base/stream.h"

namespace pamir::kernels {

// Positions of a KV block; one step of the tensor cores over positions.
inline constexpr int kKvCudaBlock = 16;
inline constexpr int kTileKeys = 64;
inline constexpr int kSplitKeys = 256;
inline constexpr int kTileQueries = 128;  // most queries of a QueryTile
inline constexpr int kCudaHeadDimMax = 256;

// Element d of a token is stored in a head of this many: multiples of 16, the rest zeros.
inline constexpr int64_t PaddedHeadDim(int64_t head_dim) { return (head_dim + 15) / 16 * 16; }

// A cache in fp8 holds a token's k (or v) of a head as D numbers in e4m3 and their scale in fp16:
//   scale = amax / 448, rounded up to fp16; at least 2^-24 and at most kKvFp8ScaleMax, so that 448
//     times it is finite in fp16; e4m3[d] = k[d] / scale, rounded to nearest in fp32, then in e4m3
//   read back as e4m3[d] * scale, rounded to fp16: within |k[d]| * 2^-4 and
//     amax * 2^-18 + 2^-25 on top of that
// The rest of the arithmetic is that of an fp16 cache with the numbers read back in it, also for a
// token's own k and v. They depend on that one vector, so bits depend on company as little as ever.
inline constexpr float kKvFp8ScaleMax = 146.125f;
inline constexpr int64_t kKvFp8ScaleBytes = 2;

// One layer's part of the KV pool on this rank: two planes of fp16,
//   [num_blocks][heads][2][D / 8][8][8], D = PaddedHeadDim(head_dim):
// of a block's 16 positions the lower 8 first, then the upper 8; each as D / 8 matrices of 8
// positions x 8 elements (128 bytes). A block of a head is one contiguous piece (4 KiB for D =
// 128), which is read in whole lines and lands in shared memory as the tensor cores take it
// (ldmatrix and wgmma's unswizzled layout) without bank conflicts. In fp8 a block of a head is the
// same order of bytes and then its 16 scales: (D + 2) * 16 bytes.
struct KvCuda {
  void* k = nullptr;
  void* v = nullptr;
  int32_t heads = 0;
  int32_t head_dim = 0;  // 64, 80, 128 fast; any other up to kCudaHeadDimMax slower
  bool fp8 = false;      // only with q, k, v in fp16
};
// type: of q, k and v, and unless fp8 of the cache, kFloat16 or kFloat32.
inline constexpr int64_t KvCudaPlaneBytes(int64_t num_blocks, int64_t heads, int64_t head_dim,
                                          DType type = DType::kFloat16, bool fp8 = false) {
  const int64_t halves =
      fp8 ? PaddedHeadDim(head_dim) + kKvFp8ScaleBytes : PaddedHeadDim(head_dim) * 2;
  const int64_t bytes = type == DType::kFloat32 ? head_dim * 4 : halves;
  return num_blocks * heads * kKvCudaBlock * bytes;
}

// Consecutive tokens of one row, to be computed together.
struct QueryTile {
  int32_t token = 0;  // the first; its row and position say the rest
  int32_t count = 0;  // 1 .. kTileQueries
};

struct AttentionCudaArgs {
  DType type = DType::kFloat16;      // of qkv and, unless fp8, the cache: kFloat16 or kFloat32
  DType out_type = DType::kFloat16;  // kFloat16 or kBFloat16; kFloat32 where type is
  // [T][qkv_stride]: per token q, k, v, each heads * head_dim. qkv_stride is a multiple of 8, the
  // pointer 16-byte aligned.
  const void* qkv = nullptr;
  int64_t qkv_stride = 0;
  float scale = 1;                       // head_dim^-0.5, applied to the fp32 scores
  const int32_t* positions = nullptr;    // [T]
  const int32_t* token_row = nullptr;    // [T]: the token's row of block_table
  const int32_t* block_table = nullptr;  // [rows][max_blocks]; not read behind a row's last block
  int64_t max_blocks = 0;
  KvCuda kv;
  void* out = nullptr;  // [T][out_stride], heads * head_dim each
  int64_t out_stride = 0;
  // AttentionCudaScratchBytes(...), zeroed once before first use; one for calls that may overlap.
  void* scratch = nullptr;
  int64_t scratch_tokens = 0;     // the `tokens` that it was sized for
  bool dependent_launch = false;  // see kernels/cuda/launch.cuh; Hopper and later only
  // DecodeAttentionCuda: also store the tokens' own k and v, as WriteKvCuda would; the bits are
  // those of WriteKvCuda before it. Each token then is of another row, and the keys before its own,
  // positions, token_row and block_table were there before the kernel that writes qkv (a launch of
  // the same step) began: with dependent_launch they are read while that one still runs.
  bool write_kv = false;
  // PrefillAttentionCuda: the keys of the tiles' rows, all rows together; 0: what the tiles and
  // context_max suggest, too little for chunks of several rows. It only orders the work, so that
  // keys and values are found in the L2 cache.
  int64_t kv_tokens = 0;
};

// Enough for DecodeAttentionCuda of up to `tokens` tokens with positions below context_max, and,
// where head_dim has no fast path, PrefillAttentionCuda of tokens / kTileQueries tiles.
int64_t AttentionCudaScratchBytes(int64_t tokens, int64_t context_max, int64_t heads,
                                  int64_t head_dim);

// Stores k and v of tokens 0 .. tokens - 1 at their positions. Infinities become the largest finite
// fp16, so that 0 * v is 0; NaN stays.
int WriteKvCuda(const AttentionCudaArgs& args, int64_t tokens, StreamRef stream);

// Attention of tokens first .. first + tokens - 1, each by itself: what decoding needs. Their keys
// must have been written, but for write_kv. context_max: above every position among them, so that
// a captured graph holds for all contexts up to it.
int DecodeAttentionCuda(const AttentionCudaArgs& args, int64_t first, int64_t tokens,
                        int64_t context_max, StreamRef stream);

// How PrefillAttentionCuda multiplies; the bits are the same. kWgmma reads no fp8.
enum class PrefillWay { kBest, kMma, kWgmma };

// Attention of tiles[0 .. count - 1] (device memory): prompts and chunks. The tiles with the
// longest context should come first, so that the device's last ones are short. With scratch (of any
// size but 0) work is handed out as it is done, without it in a fixed order, which is slower.
int PrefillAttentionCuda(const AttentionCudaArgs& args, const QueryTile* tiles, int64_t count,
                         int64_t context_max, StreamRef stream, PrefillWay way = PrefillWay::kBest);

}  // namespace pamir::kernels

#endif  // PAMIR_KERNELS_ATTENTION_ATTENTION_CUDA_H_
