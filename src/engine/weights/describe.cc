#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/units.h"
#include "engine/weights/inspect.h"

namespace pamir::weights {
namespace {

std::string WithCommas(int64_t n) {
  std::string text = std::to_string(n);
  for (int64_t at = static_cast<int64_t>(text.size()) - 3; at > 0; at -= 3) text.insert(at, ",");
  return text;
}

std::string Variants(const spec::ModelSpec& model) {
  std::string text = model.pre_norm ? "norm before each block" : "norm after each block";
  if (model.pre_norm && !model.final_norm) text += ", no last norm";
  if (!model.norm_affine) text += ", norms without scale and shift";
  if (!model.bias) text += ", no biases";
  text += model.activation == spec::Activation::kGelu ? ", gelu" : ", relu";
  text += model.tied ? ", tied head" : ", separate head";
  if (model.projected()) absl::StrAppend(&text, ", embedding of ", model.embed, " projected");
  return text;
}

std::string RangeText(Range range) {
  return range.size() == 1 ? absl::StrCat(range.begin)
                           : absl::StrCat(range.begin, "-", range.end - 1);
}

void AppendShape(const spec::ModelSpec& model, std::string& text) {
  const int64_t parameters = spec::ParameterCount(model);
  absl::StrAppendFormat(&text, "%s\n", model.name);
  absl::StrAppendFormat(&text, "  layers      %d\n", model.layers);
  absl::StrAppendFormat(&text, "  hidden      %d\n", model.hidden);
  absl::StrAppendFormat(&text, "  heads       %d of %d\n", model.heads, model.head_dim());
  absl::StrAppendFormat(&text, "  ffn         %d\n", model.ffn);
  absl::StrAppendFormat(&text, "  vocabulary  %d rows\n", model.vocab);
  absl::StrAppendFormat(&text, "  context     %d positions\n", model.positions);
  absl::StrAppendFormat(&text, "  variant     %s\n", Variants(model));
  absl::StrAppendFormat(&text, "  parameters  %s (%s in %s)\n", WithCommas(parameters),
                        HumanBytes(parameters * static_cast<int64_t>(SizeOf(model.dtype))),
                        Name(model.dtype));
}

}  // namespace

std::string DescribeModel(const spec::ModelSpec& model, const spec::ShardPlan& plan) {
  std::string text;
  AppendShape(model, text);
  absl::StrAppendFormat(&text, "plan: %d ranks in %d stages, weights in %s, KV cache in %s\n",
                        plan.ranks(), plan.pipeline(), Name(plan.weight_dtype),
                        Name(plan.kv_dtype));
  absl::StrAppendFormat(&text, "  %-5s %-6s %-8s %-8s %-14s %-14s %10s %10s\n", "rank", "stage",
                        "layers", "heads", "neurons", "vocabulary", "weights", "KV/token");
  for (int rank = 0; rank < plan.ranks(); ++rank) {
    const spec::RankPlace place = spec::PlaceOfRank(plan, rank);
    const spec::StagePlan& stage = plan.stages[place.stage];
    const spec::TensorShard& shard = stage.shards[place.tensor_index];
    const int64_t kv = spec::KvBytesPerBlock(model, plan, rank) / plan.limits.block_size;
    absl::StrAppendFormat(&text, "  %-5d %-6d %-8s %-8s %-14s %-14s %10s %10s\n", rank, place.stage,
                          RangeText(stage.layers), RangeText(shard.heads), RangeText(shard.ffn),
                          RangeText(shard.vocab),
                          HumanBytes(spec::BytesOfRank(model, plan, rank).weights), HumanBytes(kv));
  }
  return text;
}

}  // namespace pamir::weights
