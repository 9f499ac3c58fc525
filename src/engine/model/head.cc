#include "engine/model/head.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "kernels/sample/sample.h"

namespace pamir::model {
namespace {

// One hidden state that wants logits. Sampled ones and prompt log-probabilities go separately, each
// in the plan's order.
struct Pick {
  int64_t token = 0;  // index in the step
  SlotId slot;
  int32_t position = 0;
};

std::vector<Pick> PicksThatWant(flow::RowWants wants, const flow::StepPlan& plan,
                                const kernels::RowsView& rows) {
  std::vector<Pick> picks;
  for (size_t r = 0; r < plan.rows.size(); ++r) {
    const flow::Row& row = plan.rows[r];
    if (row.wants != wants) continue;
    const int32_t first = wants == flow::RowWants::kSample ? row.count - 1 : 0;
    for (int32_t i = first; i < row.count; ++i) {
      picks.push_back({rows.row_start[r] + i, row.slot, row.from + i});
    }
  }
  return picks;
}

// Logits of up to kLogitRows picks: [count][vocab] on the stage's first rank, null on the others.
absl::StatusOr<const float*> Logits(const HeadContext& head, const Pick* picks, int64_t count) {
  const LayerContext& c = *head.layers;
  const StepBuffers& b = *c.buffers;
  const int64_t hidden = c.model->hidden;
  for (int64_t i = 0; i < count; ++i) {
    std::memcpy(b.picked + i * hidden, b.x + picks[i].token * hidden, hidden * sizeof(float));
  }
  ShardLogits(c, count);
  if (c.stage == nullptr) return b.shard_logits;

  std::vector<int64_t> counts;
  for (const spec::TensorShard& shard : head.stage->shards) {
    counts.push_back(count * shard.vocab.size());
  }
  PAMIR_RETURN_IF_ERROR(
      c.stage->Gather(0, b.shard_logits, counts, b.gathered_logits, c.kernel.stream));
  if (head.tensor_index != 0) return nullptr;
  const float* from = b.gathered_logits;
  for (const spec::TensorShard& shard : head.stage->shards) {
    for (int64_t i = 0; i < count; ++i, from += shard.vocab.size()) {
      std::memcpy(b.logits + i * c.model->vocab + shard.vocab.begin, from,
                  shard.vocab.size() * sizeof(float));
    }
  }
  return b.logits;
}

void SamplePicks(const HeadContext& head, const Pick* picks, int64_t count, const float* logits,
                 flow::StepResult* result) {
  const LayerContext& c = *head.layers;
  kernels::SampleRow params[kLogitRows];
  int32_t tokens[kLogitRows];
  float logprobs[kLogitRows];
  for (int64_t i = 0; i < count; ++i) {
    const Slot& slot = head.slots->at(picks[i].slot);
    params[i] = {.temperature = slot.sampling.temperature,
                 .top_k = slot.sampling.top_k,
                 .top_p = slot.sampling.top_p,
                 .seed = slot.sampling.seed,
                 .choice = static_cast<uint32_t>(slot.choice),
                 .position = static_cast<uint64_t>(picks[i].position) + 1};
  }
  kernels::Sample(c.kernel, {.logits = logits,
                             .rows = count,
                             .stride = c.model->vocab,
                             .vocab = head.plan->limits.text_vocab,
                             .params = params,
                             .tokens = tokens,
                             .logprobs = logprobs,
                             .scratch = c.buffers->scratch});
  for (int64_t i = 0; i < count; ++i) {
    result->sampled.push_back({.slot = picks[i].slot, .token = tokens[i], .logprob = logprobs[i]});
  }
}

absl::Status ScorePicks(const HeadContext& head, const Pick* picks, int64_t count,
                        const float* logits, std::vector<float>* scores) {
  const LayerContext& c = *head.layers;
  int32_t tokens[kLogitRows];
  float logprobs[kLogitRows];
  for (int64_t i = 0; i < count; ++i) {
    const std::vector<TokenId>& ids = head.slots->at(picks[i].slot).ids;
    const size_t next = static_cast<size_t>(picks[i].position) + 1;
    if (next >= ids.size() || ids[next] >= head.plan->limits.text_vocab) {
      return absl::InternalError(absl::StrCat("plan: no id to score at position ", next,
                                              " of slot ", picks[i].slot.value));
    }
    tokens[i] = ids[next];
  }
  kernels::TokenLogprobs(c.kernel, {.logits = logits,
                                    .rows = count,
                                    .stride = c.model->vocab,
                                    .vocab = head.plan->limits.text_vocab,
                                    .tokens = tokens,
                                    .logprobs = logprobs});
  scores->insert(scores->end(), logprobs, logprobs + count);
  return absl::OkStatus();
}

void CollectScores(const flow::StepPlan& plan, const std::vector<float>& scores,
                   flow::StepResult* result) {
  auto at = scores.begin();
  for (const flow::Row& row : plan.rows) {
    if (row.wants != flow::RowWants::kPromptLogprobs) continue;
    result->prompt_logprobs.push_back(
        {.slot = row.slot, .from = row.from, .logprobs = std::vector<float>(at, at + row.count)});
    at += row.count;
  }
}

}  // namespace

absl::Status RunHead(const HeadContext& head, const flow::StepPlan& plan,
                     const kernels::RowsView& rows, flow::StepResult* result) {
  const auto for_batches = [&](const std::vector<Pick>& picks, auto use) -> absl::Status {
    for (size_t done = 0; done < picks.size(); done += kLogitRows) {
      const int64_t count = std::min<int64_t>(kLogitRows, picks.size() - done);
      PAMIR_ASSIGN_OR_RETURN(const float* logits, Logits(head, &picks[done], count));
      if (head.tensor_index == 0) PAMIR_RETURN_IF_ERROR(use(&picks[done], count, logits));
    }
    return absl::OkStatus();
  };
  PAMIR_RETURN_IF_ERROR(for_batches(PicksThatWant(flow::RowWants::kSample, plan, rows),
                                    [&](const Pick* picks, int64_t count, const float* logits) {
                                      SamplePicks(head, picks, count, logits, result);
                                      return absl::OkStatus();
                                    }));
  std::vector<float> scores;
  PAMIR_RETURN_IF_ERROR(for_batches(PicksThatWant(flow::RowWants::kPromptLogprobs, plan, rows),
                                    [&](const Pick* picks, int64_t count, const float* logits) {
                                      return ScorePicks(head, picks, count, logits, &scores);
                                    }));
  if (head.tensor_index == 0) CollectScores(plan, scores, result);
  return absl::OkStatus();
}

}  // namespace pamir::model
