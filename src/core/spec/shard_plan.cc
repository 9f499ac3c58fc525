#include "core/spec/shard_plan.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/check.h"

namespace pamir::spec {
namespace {

std::string DivisorsOf(int64_t n) {
  std::vector<int64_t> divisors;
  for (int64_t d = 1; d <= n; ++d) {
    if (n % d == 0) divisors.push_back(d);
  }
  return absl::StrJoin(divisors, ", ");
}

absl::Status CheckSizes(const ModelSpec& model, int tp, int pp) {
  if (tp < 1 || model.heads % tp != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor-parallel size ", tp, " does not divide the ", model.heads,
                     " attention heads of ", model.name, "; use one of ", DivisorsOf(model.heads)));
  }
  if (tp > model.ffn || tp > model.vocab) {
    return absl::InvalidArgumentError(absl::StrCat(
        "tensor-parallel size ", tp, " is above the ", std::min(model.ffn, model.vocab),
        model.ffn < model.vocab ? " neurons" : " vocabulary rows", " of ", model.name));
  }
  if (pp < 1 || pp > model.layers) {
    return absl::InvalidArgumentError(absl::StrCat("pipeline-parallel size ", pp, " does not fit ",
                                                   model.name, ", which has ", model.layers,
                                                   " layers; use 1 to ", model.layers));
  }
  return absl::OkStatus();
}

}  // namespace

const char* Name(DeviceKind device) { return device == DeviceKind::kCpu ? "cpu" : "cuda"; }

const char* Name(ReluSkip skip) {
  switch (skip) {
    case ReluSkip::kOff:
      return "off";
    case ReluSkip::kGroup:
      return "group";
    case ReluSkip::kFull:
      return "full";
  }
  return "?";
}

DType KvDTypeOf(DeviceKind device, DType weight_dtype) {
  const bool halves = device == DeviceKind::kCuda && weight_dtype != DType::kFloat32;
  return halves ? DType::kFloat16 : DType::kFloat32;
}

void SetDevice(DeviceKind device, DType weight_dtype, ShardPlan* plan) {
  plan->device = device;
  plan->weight_dtype = weight_dtype;
  plan->kv_dtype = KvDTypeOf(device, weight_dtype);
}

int ShardPlan::ranks() const {
  size_t total = 0;
  for (const StagePlan& stage : stages) total += stage.shards.size();
  return static_cast<int>(total);
}

RankPlace PlaceOfRank(const ShardPlan& plan, int rank) {
  int left = rank;
  for (int stage = 0; stage < plan.pipeline() && left >= 0; ++stage) {
    const int shards = static_cast<int>(plan.stages[stage].shards.size());
    if (left < shards) return {stage, left};
    left -= shards;
  }
  PAMIR_CHECK(false, absl::StrCat("rank ", rank, " of a plan of ", plan.ranks(), " ranks"));
}

int RankAt(const ShardPlan& plan, int stage, int tensor_index) {
  PAMIR_CHECK(stage >= 0 && stage < plan.pipeline(), absl::StrCat("stage ", stage));
  int rank = tensor_index;
  for (int s = 0; s < stage; ++s) rank += static_cast<int>(plan.stages[s].shards.size());
  return rank;
}

absl::StatusOr<ShardPlan> EvenShardPlan(const ModelSpec& model, int tp, int pp) {
  if (absl::Status status = CheckSizes(model, tp, pp); !status.ok()) return status;
  ShardPlan plan;
  plan.weight_dtype = model.dtype;
  for (int stage = 0; stage < pp; ++stage) {
    StagePlan& part = plan.stages.emplace_back();
    part.layers = SplitEvenly({0, model.layers}, pp, stage);
    for (int shard = 0; shard < tp; ++shard) {
      part.shards.push_back({SplitEvenly({0, model.heads}, tp, shard),
                             SplitEvenly({0, model.ffn}, tp, shard),
                             SplitEvenly({0, model.vocab}, tp, shard)});
    }
  }
  EngineLimits& limits = plan.limits;
  limits.max_model_len = static_cast<int32_t>(model.positions);
  limits.text_vocab = static_cast<int32_t>(model.vocab);
  limits.num_blocks = static_cast<int32_t>(CeilDiv(limits.max_model_len, limits.block_size));
  return plan;
}

}  // namespace pamir::spec
