// A step goes out: who computes what, within the tokens, blocks and slots that there are.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "core/sched/scheduler.h"

namespace pamir::sched {

std::optional<flow::StepPlan> Scheduler::PlanStep() {
  if (!ready_ || ledger_.empty()) return std::nullopt;
  if (static_cast<int32_t>(in_flight_.size()) >= options_.max_steps_in_flight) return std::nullopt;
  if (!in_flight_.empty() && !CanPlanAhead()) return std::nullopt;
  flow::StepPlan plan;
  plan.rows.reserve(max_running_);
  budget_ = options_.max_num_batched_tokens;
  PlanDecodeRows(&plan);
  PlanChunks(&plan);
  AdmitWaiting(&plan);
  if (plan.rows.empty() && !in_flight_.empty()) return std::nullopt;  // and nothing else is in it
  // The oldest always gets a row: it is never preempted, and alone it fits the pool.
  PAMIR_CHECK(!plan.rows.empty(),
              absl::StrCat("no rows for ", running_.size(), " running and ", waiting_.size(),
                           " waiting requests, ", blocks_.free(), " blocks free"));
  plan.releases = std::exchange(releases_, {});
  step_ = StepId(step_.value + 1);
  plan.epoch = epoch_;
  plan.step = step_;
  Remember(plan);
  ++steps_;
  return plan;
}

// Nobody who has a row in flight gives way: all that decode find the blocks that they need.
bool Scheduler::CanPlanAhead() const {
  int32_t needed = 0;
  for (const Sequence* s : running_) {
    if (!s->decodes()) continue;
    needed += blocks_.BlocksFor(s->coming_length()) - static_cast<int32_t>(s->blocks.size());
  }
  return needed <= blocks_.free();
}

void Scheduler::Remember(const flow::StepPlan& plan) {
  StepOut& out = in_flight_.emplace_back();
  out.step = plan.step;
  out.rows.reserve(plan.rows.size());
  for (const flow::Row& row : plan.rows) {
    out.rows.push_back({row, slots_[row.slot.value]->admission});
  }
}

void Scheduler::PlanDecodeRows(flow::StepPlan* plan) {
  // By index: making room takes sequences off the end.
  for (size_t i = 0; i < running_.size(); ++i) {
    Sequence* sequence = running_[i];
    if (!sequence->decodes() || !GrowTable(sequence, plan)) continue;
    plan->rows.push_back({.slot = sequence->slot, .from = sequence->computed++});
    ++sequence->pending;
    --budget_;
  }
}

// Blocks for all ids of the sequence; false where it had to give up its own place for that. Those
// that are preempted arrived later, so they have no row in this plan yet.
bool Scheduler::GrowTable(Sequence* sequence, flow::StepPlan* plan) {
  const size_t needed = blocks_.BlocksFor(sequence->coming_length());
  while (sequence->blocks.size() < needed) {
    if (blocks_.Take(1, &sequence->blocks)) {
      plan->appended_blocks.push_back({sequence->slot, sequence->blocks.back()});
      continue;
    }
    const bool itself = running_.back() == sequence;
    PreemptLatest();
    if (itself) return false;
  }
  return true;
}

void Scheduler::PreemptLatest() {
  Sequence* latest = running_.back();
  GiveUpSlot(latest);
  PushWaiting(latest, /*front=*/true);
  ++preemptions_;
}

void Scheduler::PlanChunks(flow::StepPlan* plan) {
  for (Sequence* sequence : running_) {
    if (budget_ == 0) return;
    if (sequence->chunk_end() > sequence->computed) PlanChunk(sequence, plan);
  }
}

// First come first served: who does not fit holds up those behind.
void Scheduler::AdmitWaiting(flow::StepPlan* plan) {
  while (!waiting_.empty() && !free_slots_.empty() && budget_ > 0) {
    Sequence* next = waiting_.front();
    if (!blocks_.Take(blocks_.BlocksFor(next->target()), &next->blocks)) return;
    waiting_.pop_front();
    waiting_tokens_ -= next->length();
    Admit(next, plan);
    PlanChunk(next, plan);
  }
}

void Scheduler::Admit(Sequence* sequence, flow::StepPlan* plan) {
  sequence->slot = free_slots_.back();
  free_slots_.pop_back();
  sequence->admission = ++admissions_;
  slots_[sequence->slot.value] = sequence;
  running_.push_back(sequence);
  plan->admissions.push_back({.slot = sequence->slot,
                              .ids = sequence->ids,
                              .prompt_length = sequence->prompt_length,
                              .choice = 0,
                              .sampling = sequence->sampling,
                              .blocks = sequence->blocks});
}

// The next positions of a prompt, or of emitted ids that are replayed. A row is of one kind and
// wants one thing, so a replay takes at least one row for the prompt and one for the rest.
void Scheduler::PlanChunk(Sequence* sequence, flow::StepPlan* plan) {
  const bool prompt = sequence->computed < sequence->prompt_length;
  const bool scores = sequence->scoring() && sequence->computed < sequence->prompt_length - 1;
  flow::Row row{.slot = sequence->slot,
                .from = sequence->computed,
                .count = std::min(sequence->chunk_end() - sequence->computed, budget_),
                .kind = prompt ? flow::RowKind::kPrompt : flow::RowKind::kEmitted,
                .wants = flow::RowWants::kNothing};
  if (scores) {
    row.wants = flow::RowWants::kPromptLogprobs;
  } else if (row.from + row.count == sequence->length()) {
    row.wants = flow::RowWants::kSample;
    ++sequence->pending;
  }
  sequence->computed += row.count;
  budget_ -= row.count;
  plan->rows.push_back(row);
}

}  // namespace pamir::sched
