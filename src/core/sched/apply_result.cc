// A step comes back: tokens are appended to the ledger, and sequences end.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/sched/scheduler.h"

namespace pamir::sched {
namespace {

// Why the sequence ends with the id that was just appended; kNone: it goes on.
FinishReason ReasonToFinish(const Sequence& s, TokenId eos) {
  const TokenId token = s.ids.back();
  if (token == eos && !s.ignore_eos) return FinishReason::kStop;
  if (std::count(s.stop_token_ids.begin(), s.stop_token_ids.end(), token) > 0) {
    return FinishReason::kStop;
  }
  return s.length() >= s.max_length ? FinishReason::kLength : FinishReason::kNone;
}

absl::Status Misfit(const flow::StepResult& result, const std::string& what) {
  return absl::InternalError(absl::StrCat("result of step ", result.step.value, " of epoch ",
                                          result.epoch.value, " does not fit its plan: ", what));
}

}  // namespace

// A result comes from another process: it is checked wholly before anything of it is applied.
absl::Status Scheduler::CheckResult(const flow::StepResult& result, const StepOut& step) const {
  size_t sampled = 0, scored = 0;
  for (const auto& [row, admission] : step.rows) {
    if (row.wants == flow::RowWants::kSample) {
      if (sampled == result.sampled.size()) return Misfit(result, "a sampled token is missing");
      const flow::SampledToken& s = result.sampled[sampled++];
      if (s.slot != row.slot || s.token < 0) {
        return Misfit(result, absl::StrCat("token ", s.token, " of slot ", s.slot.value,
                                           " where slot ", row.slot.value, " was to be sampled"));
      }
    } else if (row.wants == flow::RowWants::kPromptLogprobs) {
      if (scored == result.prompt_logprobs.size()) return Misfit(result, "scores are missing");
      const flow::PromptLogprobs& p = result.prompt_logprobs[scored++];
      if (p.slot != row.slot || p.from != row.from ||
          p.logprobs.size() != static_cast<size_t>(row.count)) {
        return Misfit(result, absl::StrCat(p.logprobs.size(), " scores from ", p.from, " of slot ",
                                           p.slot.value, " for ", row.count, " from ", row.from,
                                           " of slot ", row.slot.value));
      }
    }
  }
  if (sampled != result.sampled.size() || scored != result.prompt_logprobs.size()) {
    return Misfit(result, "more rows than were asked for");
  }
  return absl::OkStatus();
}

absl::Status Scheduler::OnStepDone(const flow::StepResult& result) {
  if (in_flight_.empty() || result.epoch != epoch_ || result.step != in_flight_.front().step) {
    return absl::OkStatus();
  }
  if (absl::Status status = CheckResult(result, in_flight_.front()); !status.ok()) return status;
  const StepOut step = std::move(in_flight_.front());
  in_flight_.pop_front();
  auto sampled = result.sampled.begin();
  auto scored = result.prompt_logprobs.begin();
  events_.reserve(events_.size() + result.sampled.size() + result.prompt_logprobs.size());
  for (const auto& [row, admission] : step.rows) {
    // Gone: it was cancelled or stopped, or ended with the step before; the slot may be another's.
    Sequence* sequence = slots_[row.slot.value];
    if (sequence != nullptr && sequence->admission != admission) sequence = nullptr;
    if (row.wants == flow::RowWants::kSample) {
      const flow::SampledToken& token = *sampled++;
      if (sequence != nullptr) OnSampled(sequence, token);
    } else if (row.wants == flow::RowWants::kPromptLogprobs) {
      const flow::PromptLogprobs& chunk = *scored++;
      if (sequence != nullptr) OnPromptLogprobs(sequence, chunk);
    }
  }
  return absl::OkStatus();
}

void Scheduler::OnSampled(Sequence* sequence, const flow::SampledToken& sampled) {
  sequence->ids.push_back(sampled.token);
  --sequence->pending;
  ++tokens_;
  flow::TokenEvent event{.id = sequence->id,
                         .index = sequence->emitted() - 1,
                         .has_token = true,
                         .token = sampled.token,
                         .logprob = sampled.logprob,
                         .finish = ReasonToFinish(*sequence, options_.eos)};
  if (event.finish == FinishReason::kNone) {
    events_.push_back(std::move(event));
  } else {
    Finish(sequence, std::move(event));
  }
}

void Scheduler::OnPromptLogprobs(Sequence* sequence, const flow::PromptLogprobs& scored) {
  sequence->prompt_logprobs.insert(sequence->prompt_logprobs.end(), scored.logprobs.begin(),
                                   scored.logprobs.end());
  if (sequence->scoring() || sequence->generates()) return;
  Finish(sequence, {.finish = FinishReason::kLength});
}

}  // namespace pamir::sched
