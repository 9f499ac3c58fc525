// The scheduler: a pure function of (state, event) -> StepPlan. No clock, no threads, no I/O: time
// comes in as Tick, results as StepDone. Owned by the coordinator's one thread; not thread-safe.
//
// Use:  on anything that happens: Apply(event); then send TakeEvents() to the sinks, and send
//       PlanStep() to the ranks if it gives a plan. Idle costs nothing: without work PlanStep gives
//       none, and nothing needs to be called but Tick now and then (deadlines).
//
// Policy of this form: continuous batching, first come first served. Each step: one row for every
// running sequence that decodes, then chunks of prompts in the order of arrival, then admissions
// from the head of the waiting queue while slots, blocks and tokens of the step last. Where a
// decoding sequence needs a block and none is free, the latest arrival gives up its blocks and goes
// back to the head of the waiting queue (preemption by recomputing).
//
// Up to max_steps_in_flight steps are out. A step is planned ahead of another's result as if no
// stream ended with it: rows of those that did are computed for nothing, and what they give is
// dropped. Planning ahead preempts nobody: where blocks are short, it waits for the result.
#ifndef PAMIR_CORE_SCHED_SCHEDULER_H_
#define PAMIR_CORE_SCHED_SCHEDULER_H_

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/ids.h"
#include "core/flow/event.h"
#include "core/flow/step_plan.h"
#include "core/flow/token_event.h"
#include "core/kv/block_ledger.h"
#include "core/sched/ledger.h"
#include "core/sched/options.h"

namespace pamir::sched {

struct SchedulerStats {
  bool ready = false;      // an epoch of ranks is there
  bool in_flight = false;  // at least one step is out
  Epoch epoch;             // 0 before the first WorkerReady
  uint64_t steps = 0;      // planned, all epochs together
  int32_t running = 0, waiting = 0, max_running = 0, max_waiting = 0;
  int64_t waiting_tokens = 0;
  int32_t blocks_total = 0, blocks_free = 0, block_size = 0;
  uint64_t requests_accepted = 0, requests_finished = 0;  // finished: any reason
  uint64_t tokens_generated = 0, preemptions = 0;
};

// INVALID_ARGUMENT where a request can never run under these limits: an empty prompt, one longer
// than the context, max_tokens < 0. Also for whoever wants to refuse it before it is queued.
absl::Status CheckFits(const flow::TokenRequest& request, const SchedulerOptions& options);

class Scheduler {
 public:
  // CHECK: CheckOptions(options) is OK.
  explicit Scheduler(const SchedulerOptions& options);
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Takes a request into the waiting queue, also while no ranks are ready. After OK exactly one
  // event with a finish reason comes for it, perhaps at once (max_tokens 0). Errors:
  // INVALID_ARGUMENT: it can never run (empty prompt, longer than the context, max_tokens < 0);
  // RESOURCE_EXHAUSTED: the waiting queue is full; ALREADY_EXISTS: the id is in use.
  // The ids are taken to be inside the vocabulary. max_tokens above what the context has left is
  // cut down to it. A deadline that has passed takes effect with the next Tick.
  absl::Status Arrive(flow::TokenRequest request);

  // Applies any event. Not OK:
  // - Arrive: as above;
  // - StepDone: INTERNAL where the result does not fit the oldest step that is out (a broken rank;
  //   nothing was applied: treat the rank as lost). One of another epoch or step is dropped: OK.
  // All other events are always OK; those for unknown (finished) ids are ignored.
  //
  // Cancel, Stop and Tick end a request at once: its last event is there for TakeEvents, its slot
  // and blocks are free for the next plan, and what the step in flight gives for it is dropped.
  // WorkerLost: everything that runs goes back to the head of the waiting queue, in the order of
  // arrival; nothing is planned until WorkerReady with a larger epoch, which starts at step 1.
  // A WorkerReady of an epoch that is not larger is ignored.
  absl::Status Apply(flow::Event event);

  // The next step, or nothing: enough steps are out, no ranks are ready, or there are no rows to
  // compute (before the results of what is out).
  // Releases are carried by the next plan that has rows (they come first in it, so that it may use
  // the same slots and blocks again); no plan is made for them alone.
  std::optional<flow::StepPlan> PlanStep();

  // What happened since the last call, in order.
  std::vector<flow::TokenEvent> TakeEvents();

  SchedulerStats Stats() const;
  bool idle() const { return ledger_.empty(); }  // no request is waiting or running
  const SchedulerOptions& options() const { return options_; }
  int32_t context_limit() const { return context_limit_; }  // ids of a sequence

 private:
  struct RowOut {
    flow::Row row;
    uint64_t admission = 0;  // whose; nobody's any more where the slot has another
  };
  struct StepOut {
    StepId step;
    std::vector<RowOut> rows;
  };

  // scheduler.cc: requests come and go.
  absl::Status CheckRequest(const flow::TokenRequest& request) const;
  absl::Status CheckQueue(const flow::TokenRequest& request) const;
  void OnStop(const flow::Stop& stop);
  void OnTick(absl::Time now);
  void OnWorkerReady(Epoch epoch);
  void SendRunningBackToQueue();
  void PushWaiting(Sequence* sequence, bool front);
  void Finish(Sequence* sequence, flow::TokenEvent last);
  void FinishCancelled(Sequence* sequence, const std::string& why, bool deadline_exceeded);
  void Unqueue(Sequence* sequence);
  void GiveUpSlot(Sequence* sequence);

  // apply_result.cc: a step comes back.
  absl::Status OnStepDone(const flow::StepResult& result);
  absl::Status CheckResult(const flow::StepResult& result, const StepOut& step) const;
  void OnSampled(Sequence* sequence, const flow::SampledToken& sampled);
  void OnPromptLogprobs(Sequence* sequence, const flow::PromptLogprobs& scored);

  // plan_step.cc: a step goes out.
  bool CanPlanAhead() const;
  void Remember(const flow::StepPlan& plan);
  void PlanDecodeRows(flow::StepPlan* plan);
  bool GrowTable(Sequence* sequence, flow::StepPlan* plan);
  void PlanChunks(flow::StepPlan* plan);
  void AdmitWaiting(flow::StepPlan* plan);
  void Admit(Sequence* sequence, flow::StepPlan* plan);
  void PlanChunk(Sequence* sequence, flow::StepPlan* plan);
  void PreemptLatest();

  const SchedulerOptions options_;
  const int32_t context_limit_;
  const int32_t max_running_;
  kv::BlockLedger blocks_;
  Ledger ledger_;

  // Both in the order of arrival, and everything running arrived before everything waiting.
  std::deque<Sequence*> waiting_;
  std::vector<Sequence*> running_;
  int64_t waiting_tokens_ = 0;

  std::vector<Sequence*> slots_;    // by slot; null: free
  std::vector<SlotId> free_slots_;  // a stack
  std::vector<SlotId> releases_;    // for the next plan

  bool ready_ = false;
  Epoch epoch_;
  StepId step_;                    // planned last
  std::deque<StepOut> in_flight_;  // the oldest first
  int32_t budget_ = 0;             // tokens left in the step being planned

  std::vector<flow::TokenEvent> events_;
  uint64_t arrivals_ = 0, admissions_ = 0, steps_ = 0, finished_ = 0, tokens_ = 0, preemptions_ = 0;
};

}  // namespace pamir::sched

#endif  // PAMIR_CORE_SCHED_SCHEDULER_H_
