#include "bench/steps.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/units.h"

namespace pamir::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int32_t kWindows = 10;  // of decode steps, whose wall clock is divided by their number

double MsBetween(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double, std::milli>(end - begin).count();
}

// Any ids will do, as long as sequences differ.
TokenId IdAt(int32_t slot, int32_t position, int64_t vocab) {
  const uint64_t mixed = (static_cast<uint64_t>(slot) << 32 | static_cast<uint32_t>(position)) *
                         uint64_t{0x9E3779B97F4A7C15};
  return static_cast<TokenId>((mixed >> 33) % static_cast<uint64_t>(vocab));
}

// The rank is to give a token for each row.
absl::Status Check(const flow::StepResult& result, int32_t rows) {
  if (static_cast<int32_t>(result.sampled.size()) == rows) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("a step of ", rows, " rows gave ", result.sampled.size(), " tokens"));
}

}  // namespace

Timing Summarize(std::vector<double> ms) {
  if (ms.empty()) return {};
  std::sort(ms.begin(), ms.end());
  const auto at = [&ms](double share) {
    return ms[static_cast<size_t>(std::lround(share * static_cast<double>(ms.size() - 1)))];
  };
  const double median = at(0.5);
  return {.ms = median, .spread = median > 0 ? (at(0.75) - at(0.25)) / median : 0};
}

StepFeeder::StepFeeder(flow::Rank* rank, const spec::ModelSpec& model,
                       const spec::EngineLimits& limits, bool greedy)
    : rank_(rank), vocab_(model.vocab), limits_(limits), greedy_(greedy) {}

flow::StepPlan StepFeeder::Admit(int32_t batch, int32_t ids, int32_t positions) {
  flow::StepPlan plan{.step = StepId(next_step_++)};
  for (int32_t slot = 0; slot < used_slots_; ++slot) plan.releases.push_back(SlotId(slot));
  used_slots_ = batch;
  const auto blocks = static_cast<int32_t>(CeilDiv(positions, limits_.block_size));
  for (int32_t slot = 0; slot < batch; ++slot) {
    flow::Admission& admission = plan.admissions.emplace_back();
    admission.slot = SlotId(slot);
    admission.prompt_length = ids;
    admission.sampling.temperature = greedy_ || batch == 1 ? 0.0f : 1.0f;
    admission.sampling.seed = static_cast<uint64_t>(slot);
    for (int32_t i = 0; i < ids; ++i) admission.ids.push_back(IdAt(slot, i, vocab_));
    for (int32_t b = 0; b < blocks; ++b) admission.blocks.push_back(BlockId(slot * blocks + b));
  }
  return plan;
}

flow::StepPlan StepFeeder::DecodeStep(int32_t batch, int32_t context, int32_t steps,
                                      int32_t index) {
  flow::StepPlan plan = index == 0 ? Admit(batch, context, DecodePositions(context, steps))
                                   : flow::StepPlan{.step = StepId(next_step_++)};
  for (int32_t slot = 0; slot < batch; ++slot) {
    plan.rows.push_back({.slot = SlotId(slot), .from = context - 1 + index});
  }
  return plan;
}

absl::StatusOr<std::vector<double>> StepFeeder::OneAtATime(int32_t batch, int32_t context,
                                                           int32_t steps) {
  std::vector<double> ms;
  for (int32_t i = 0; i < kWarmUpSteps + steps; ++i) {
    const flow::StepPlan plan = DecodeStep(batch, context, steps, i);
    const auto begin = Clock::now();
    PAMIR_ASSIGN_OR_RETURN(const flow::StepResult result, rank_->Step(plan));
    if (i >= kWarmUpSteps) ms.push_back(MsBetween(begin, Clock::now()));
    PAMIR_RETURN_IF_ERROR(Check(result, batch));
  }
  return ms;
}

absl::StatusOr<std::vector<double>> StepFeeder::Ahead(int32_t batch, int32_t context,
                                                      int32_t steps) {
  std::vector<Clock::time_point> ends;
  const auto finish = [&]() -> absl::Status {
    PAMIR_ASSIGN_OR_RETURN(const flow::StepResult result, rank_->Finish());
    ends.push_back(Clock::now());
    return Check(result, batch);
  };
  const int32_t all = kWarmUpSteps + steps;
  for (int32_t i = 0; i < all; ++i) {
    const flow::StepPlan plan = DecodeStep(batch, context, steps, i);
    if (i - static_cast<int32_t>(ends.size()) > rank_->steps_ahead()) {
      PAMIR_RETURN_IF_ERROR(finish());
    }
    PAMIR_RETURN_IF_ERROR(rank_->Begin(plan));
  }
  while (static_cast<int32_t>(ends.size()) < all) PAMIR_RETURN_IF_ERROR(finish());
  std::vector<double> ms;
  const int32_t window = std::max(1, steps / kWindows);
  for (int32_t end = kWarmUpSteps - 1 + window; end < all; end += window) {
    ms.push_back(MsBetween(ends[end - window], ends[end]) / window);
  }
  return ms;
}

absl::StatusOr<Timing> StepFeeder::Decode(int32_t batch, int32_t context, int32_t steps) {
  PAMIR_ASSIGN_OR_RETURN(std::vector<double> alone, OneAtATime(batch, context, steps));
  Timing timing = Summarize(alone);
  const double alone_ms = timing.ms;
  if (rank_->steps_ahead() > 0) {
    PAMIR_ASSIGN_OR_RETURN(std::vector<double> ahead, Ahead(batch, context, steps));
    timing = Summarize(std::move(ahead));
  }
  timing.alone_ms = alone_ms;
  return timing;
}

absl::StatusOr<Timing> StepFeeder::Prefill(int32_t tokens, int repeats) {
  std::vector<double> ms;
  for (int i = 0; i <= repeats; ++i) {
    flow::StepPlan plan = Admit(1, tokens, tokens);
    plan.rows.push_back({.slot = SlotId(0), .count = tokens, .kind = flow::RowKind::kPrompt});
    const auto begin = Clock::now();
    PAMIR_ASSIGN_OR_RETURN(const flow::StepResult result, rank_->Step(plan));
    if (i > 0) ms.push_back(MsBetween(begin, Clock::now()));
    PAMIR_RETURN_IF_ERROR(Check(result, 1));
  }
  Timing timing = Summarize(ms);
  timing.alone_ms = timing.ms;
  return timing;
}

}  // namespace pamir::bench
