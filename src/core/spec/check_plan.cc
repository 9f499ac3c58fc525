#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "core/spec/shard_plan.h"

namespace pamir::spec {
namespace {

constexpr int64_t kMaxRanks = 4096;
constexpr int64_t kMaxBlockSize = 1024;
constexpr int64_t kMaxBlocks = 1 << 30;
constexpr int64_t kMaxSlots = 1 << 16;
constexpr int64_t kMaxStepTokens = 1 << 20;

// `part` must go on where the parts before it ended, and hold something.
absl::Status CheckNext(const std::string& what, Range part, int64_t expected_begin, int64_t end) {
  if (part.begin == expected_begin && part.size() > 0 && part.end <= end) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      what, " are ", part.begin, "..", part.end, " (end excluded); they must begin at ",
      expected_begin, ", not be empty and end at ", end, " at most"));
}

absl::Status CheckEnd(const std::string& what, int64_t reached, int64_t end) {
  if (reached == end) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(what, " ", reached, "..", end, " (end excluded) are held by no rank"));
}

absl::Status CheckStage(const ModelSpec& model, const StagePlan& stage, int index) {
  const std::string where = absl::StrCat("stage ", index, ": ");
  if (stage.shards.empty()) return absl::InvalidArgumentError(where + "it has no ranks");
  int64_t heads = 0, ffn = 0, vocab = 0;
  for (size_t i = 0; i < stage.shards.size(); ++i) {
    const TensorShard& shard = stage.shards[i];
    const std::string rank = absl::StrCat(where, "tensor-parallel rank ", i, "'s ");
    PAMIR_RETURN_IF_ERROR(CheckNext(rank + "heads", shard.heads, heads, model.heads));
    PAMIR_RETURN_IF_ERROR(CheckNext(rank + "neurons", shard.ffn, ffn, model.ffn));
    PAMIR_RETURN_IF_ERROR(CheckNext(rank + "vocabulary rows", shard.vocab, vocab, model.vocab));
    heads = shard.heads.end;
    ffn = shard.ffn.end;
    vocab = shard.vocab.end;
  }
  PAMIR_RETURN_IF_ERROR(CheckEnd(where + "heads", heads, model.heads));
  PAMIR_RETURN_IF_ERROR(CheckEnd(where + "neurons", ffn, model.ffn));
  return CheckEnd(where + "vocabulary rows", vocab, model.vocab);
}

absl::Status CheckBetween(const char* name, int64_t value, int64_t low, int64_t high) {
  if (low <= value && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, " is ", value, "; it must be from ", low, " to ", high));
}

absl::Status CheckLimits(const ModelSpec& model, const EngineLimits& limits) {
  PAMIR_RETURN_IF_ERROR(CheckBetween("block_size", limits.block_size, 1, kMaxBlockSize));
  PAMIR_RETURN_IF_ERROR(CheckBetween("num_blocks", limits.num_blocks, 1, kMaxBlocks));
  PAMIR_RETURN_IF_ERROR(CheckBetween("max_num_seqs", limits.max_num_seqs, 1, kMaxSlots));
  PAMIR_RETURN_IF_ERROR(
      CheckBetween("max_num_batched_tokens", limits.max_num_batched_tokens, 1, kMaxStepTokens));
  PAMIR_RETURN_IF_ERROR(CheckBetween("max_model_len", limits.max_model_len, 1, model.positions));
  PAMIR_RETURN_IF_ERROR(CheckBetween("text_vocab", limits.text_vocab, 1, model.vocab));
  const int64_t needed = CeilDiv(limits.max_model_len, limits.block_size);
  if (limits.num_blocks >= needed) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("num_blocks is ", limits.num_blocks, "; one sequence of max_model_len ",
                   limits.max_model_len, " needs ", needed, " blocks of ", limits.block_size,
                   " tokens. Give the KV cache more memory, or lower max_model_len to ",
                   static_cast<int64_t>(limits.num_blocks) * limits.block_size));
}

absl::Status CheckWidth(const std::string& name, int64_t width) {
  if (width % kCudaWidthMultiple == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "on a GPU, ", name, " is ", width, "; it must be a multiple of ", kCudaWidthMultiple));
}

absl::Status CheckWidths(const ModelSpec& model, const ShardPlan& plan) {
  PAMIR_RETURN_IF_ERROR(CheckWidth("the hidden size", model.hidden));
  PAMIR_RETURN_IF_ERROR(CheckWidth("the embedding's width", model.embed));
  for (const StagePlan& stage : plan.stages) {
    for (const TensorShard& shard : stage.shards) {
      PAMIR_RETURN_IF_ERROR(CheckWidth("the width of a rank's attention heads together",
                                       shard.heads.size() * model.head_dim()));
      PAMIR_RETURN_IF_ERROR(CheckWidth("a rank's number of neurons", shard.ffn.size()));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckCuda(const ModelSpec& model, const ShardPlan& plan) {
  if (plan.kv_dtype != KvDTypeOf(plan.device, plan.weight_dtype)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "on a GPU weights in ", Name(plan.weight_dtype), " go with a KV cache in ",
        Name(KvDTypeOf(plan.device, plan.weight_dtype)), ", not in ", Name(plan.kv_dtype)));
  }
  if (plan.kv_fp8 && plan.kv_dtype != DType::kFloat16) {
    return absl::InvalidArgumentError(
        "a KV cache in fp8 is for weights in float16 or bfloat16, not in float32");
  }
  PAMIR_RETURN_IF_ERROR(
      CheckBetween("on a GPU, block_size", plan.limits.block_size, kCudaBlockSize, kCudaBlockSize));
  PAMIR_RETURN_IF_ERROR(
      CheckBetween("on a GPU, the head dimension", model.head_dim(), 1, kCudaMaxHeadDim));
  PAMIR_RETURN_IF_ERROR(CheckBetween("on a GPU, max_num_batched_tokens",
                                     plan.limits.max_num_batched_tokens, 1, kCudaMaxStepTokens));
  PAMIR_RETURN_IF_ERROR(
      CheckBetween("on a GPU, text_vocab", plan.limits.text_vocab, 1, kCudaMaxTextVocab));
  if (plan.relu_skip != ReluSkip::kOff && plan.weight_dtype == DType::kFloat32) {
    return absl::InvalidArgumentError(
        absl::StrCat("relu_skip ", Name(plan.relu_skip),
                     " is for weights in float16 or bfloat16; with float32 it must be off"));
  }
  return CheckWidths(model, plan);
}

}  // namespace

absl::Status CheckShardPlan(const ModelSpec& model, const ShardPlan& plan) {
  if (plan.stages.empty()) return absl::InvalidArgumentError("the plan has no stages");
  PAMIR_RETURN_IF_ERROR(CheckBetween("the number of ranks", plan.ranks(), 1, kMaxRanks));
  int64_t layers = 0;
  for (int i = 0; i < plan.pipeline(); ++i) {
    const StagePlan& stage = plan.stages[i];
    PAMIR_RETURN_IF_ERROR(
        CheckNext(absl::StrCat("stage ", i, "'s layers"), stage.layers, layers, model.layers));
    PAMIR_RETURN_IF_ERROR(CheckStage(model, stage, i));
    layers = stage.layers.end;
  }
  PAMIR_RETURN_IF_ERROR(CheckEnd("layers", layers, model.layers));
  PAMIR_RETURN_IF_ERROR(CheckLimits(model, plan.limits));
  if (plan.device == DeviceKind::kCuda) return CheckCuda(model, plan);
  if (plan.kv_fp8) return absl::InvalidArgumentError("a KV cache in fp8 is for GPUs, not for CPUs");
  return absl::OkStatus();
}

}  // namespace pamir::spec
