// Which rank holds which part of the model, and the sizes of what each allocates.
#ifndef PAMIR_CORE_SPEC_SHARD_PLAN_H_
#define PAMIR_CORE_SPEC_SHARD_PLAN_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/dtype.h"
#include "base/units.h"
#include "core/spec/model_spec.h"

namespace pamir::spec {

// The slice of one rank within its stage. Sizes may differ between ranks.
struct TensorShard {
  Range heads;  // of attention
  Range ffn;    // columns of fc1, neurons of fc2
  Range vocab;  // rows of the embedding table and of the LM head
  friend bool operator==(const TensorShard&, const TensorShard&) = default;
};

struct StagePlan {
  Range layers;
  std::vector<TensorShard> shards;  // one a tensor-parallel rank
  friend bool operator==(const StagePlan&, const StagePlan&) = default;
};

// Sizes that bound a rank's buffers: nothing larger is ever planned.
struct EngineLimits {
  int32_t block_size = 16;                // tokens of a KV block
  int32_t num_blocks = 0;                 // of the KV pool, the same on every rank
  int32_t max_num_seqs = 64;              // slots
  int32_t max_num_batched_tokens = 2048;  // tokens of a step, over all rows
  int32_t max_model_len = 2048;           // positions of a sequence
  int32_t text_vocab = 0;  // ids from here on are padding rows: never sampled, no probability
  friend bool operator==(const EngineLimits&, const EngineLimits&) = default;
};

// What all ranks of a plan run on.
enum class DeviceKind : uint8_t { kCpu, kCuda };
const char* Name(DeviceKind device);  // "cpu", "cuda"

// What fc2 of ReLU models leaves out on a GPU, where the activation before it is zero: exactly
// nothing is lost. kGroup changes no bit; kFull sums the neurons of emitted tokens in an order of
// its own. The CPU's product always skips zeros and ignores this.
enum class ReluSkip : uint8_t {
  kOff,    // nothing
  kGroup,  // groups of 16 neurons that are zero in every row
  kFull,   // each neuron that is zero; prompts keep the dense arithmetic
};
const char* Name(ReluSkip skip);  // "off", "group", "full"

struct ShardPlan {
  std::vector<StagePlan> stages;
  DeviceKind device = DeviceKind::kCpu;
  DType weight_dtype = DType::kFloat16;  // in memory
  DType kv_dtype = DType::kFloat32;      // KvDTypeOf(device, weight_dtype)
  // On GPUs with 2-byte weights: the cache holds k and v, which come in kv_dtype, in fp8 (e4m3),
  // with a scale for each token and head (kernels/attention/attention_cuda.h).
  bool kv_fp8 = false;
  ReluSkip relu_skip = ReluSkip::kOff;
  EngineLimits limits;

  int ranks() const;
  int pipeline() const { return static_cast<int>(stages.size()); }
  friend bool operator==(const ShardPlan&, const ShardPlan&) = default;
};

// What the kernels of a GPU ask for. The attention's are kKvCudaBlock, PaddedHeadDim,
// kKvFp8ScaleBytes and kCudaHeadDimMax: engine/weights asserts that they agree, since core includes
// no kernels.
inline constexpr int32_t kCudaBlockSize = 16;
inline constexpr int64_t kCudaHeadDimPadding = 16;  // of caches in types of 1 or 2 bytes
inline constexpr int64_t kCudaFp8ScaleBytes = 2;    // of a token's k or v of a head, beside it
inline constexpr int64_t kCudaMaxHeadDim = 256;
inline constexpr int64_t kCudaMaxStepTokens = 65535;  // of one launch's grid
inline constexpr int64_t kCudaMaxTextVocab = 53248;   // kSampleCudaVocabMax
inline constexpr int64_t kCudaWidthMultiple = 8;      // of every vector's length that products take
// Blocks behind the plan's last: rows that only fill a step up write there.
inline constexpr int64_t kCudaSpareBlocks = 1;

// The type of k and v: fp32 on a CPU; on a GPU fp16 for 2-byte weights and fp32 for fp32 ones.
DType KvDTypeOf(DeviceKind device, DType weight_dtype);
// A plan for this device and weights' type: sets them, and kv_dtype to what goes with them.
void SetDevice(DeviceKind device, DType weight_dtype, ShardPlan* plan);

// Rank numbers run through stage 0's shards, then stage 1's, ...
struct RankPlace {
  int stage = 0;
  int tensor_index = 0;
};
// A rank or a stage outside the plan is a broken invariant.
RankPlace PlaceOfRank(const ShardPlan& plan, int rank);
int RankAt(const ShardPlan& plan, int stage, int tensor_index);

// tp ranks in each of pp stages, as even as can be. INVALID_ARGUMENT: tp does not divide the heads
// (the message lists the values that do), pp above the layers. Weights in the checkpoint's dtype;
// limits: the model's context and vocabulary, and KV blocks for one sequence of that length. The
// plan passes CheckShardPlan; callers set the limits they want.
absl::StatusOr<ShardPlan> EvenShardPlan(const ModelSpec& model, int tp, int pp);

// Every layer, head, neuron and vocabulary row is held exactly once, in rank order; limits are
// positive and agree: max_model_len within the model's positions and within num_blocks blocks. On a
// GPU also the types, the block size, the head dimension and the widths.
absl::Status CheckShardPlan(const ModelSpec& model, const ShardPlan& plan);

// Bytes that a rank holds.
struct RankBytes {
  int64_t weights = 0;  // exact: WeightLayoutOf(...).bytes
  int64_t kv = 0;       // exact: num_blocks (and the spare) * KvBytesPerBlock(...)
  int64_t buffers = 0;  // of a step, without the kernels' scratch, which depends on the threads
  int64_t total() const { return weights + kv + buffers; }
};
RankBytes BytesOfRank(const ModelSpec& model, const ShardPlan& plan, int rank);

// KV bytes of one block on this rank: layers x 2 x block_size x heads x head_dim x element; on a
// GPU head_dim is padded, but for fp32, and in fp8 a token has a scale for each head.
int64_t KvBytesPerBlock(const ModelSpec& model, const ShardPlan& plan, int rank);

}  // namespace pamir::spec

#endif  // PAMIR_CORE_SPEC_SHARD_PLAN_H_
