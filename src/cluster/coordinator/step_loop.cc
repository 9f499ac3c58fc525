#include "cluster/coordinator/step_loop.h"

#include <utility>

#include "base/log.h"
#include "base/status_macros.h"

namespace pamir::coordinator {

StepLoop::StepLoop(const CoordinatorOptions& options, wire::Links* links, Admission* admission)
    : links_(links), admission_(admission), scheduler_(SchedulerOptionsOf(options)) {}

void StepLoop::Submit(flow::TokenRequest request, std::shared_ptr<flow::TokenSink> sink) {
  const SeqId id = request.id;
  admission_->Taken(static_cast<int64_t>(request.prompt.size()));
  sinks_[id] = {std::move(sink)};
  const absl::Status status = scheduler_.Arrive(std::move(request));
  if (!status.ok()) FailOne(id, std::string(status.message().data(), status.message().size()));
}

void StepLoop::Cancel(SeqId id) { (void)scheduler_.Apply(flow::Cancel{id}); }

void StepLoop::Stop(const flow::Stop& stop) { (void)scheduler_.Apply(stop); }

void StepLoop::Tick(absl::Time now) { (void)scheduler_.Apply(flow::Tick{now}); }

void StepLoop::BeginEpoch(Epoch epoch, std::vector<wire::LinkId> links, int sampling_rank) {
  epoch_ = epoch;
  tracker_ = StepTracker(static_cast<int>(links.size()));
  links_in_epoch_ = std::move(links);
  sampling_rank_ = sampling_rank;
  (void)scheduler_.Apply(flow::WorkerReady{epoch});
}

absl::Status StepLoop::OnResult(int rank, flow::StepResult result) {
  if (result.epoch != epoch_ || links_in_epoch_.empty()) return absl::OkStatus();
  PAMIR_RETURN_IF_ERROR(tracker_.Answered(rank, result.step));
  if (rank != sampling_rank_) return absl::OkStatus();
  return scheduler_.Apply(flow::StepDone{std::move(result)});
}

void StepLoop::Proceed(absl::Time now) {
  DeliverEvents();
  while (!links_in_epoch_.empty() && tracker_.CanSend()) {
    std::optional<flow::StepPlan> plan = scheduler_.PlanStep();
    if (!plan) break;
    tracker_.Sent(plan->step, now);
    links_->SendToAll(links_in_epoch_, *std::move(plan));
  }
  const sched::SchedulerStats stats = scheduler_.Stats();
  admission_->SetWaiting(stats.waiting, stats.waiting_tokens);
}

void StepLoop::DeliverEvents() {
  for (flow::TokenEvent& event : scheduler_.TakeEvents()) Deliver(std::move(event));
}

void StepLoop::Deliver(flow::TokenEvent event) {
  const auto found = sinks_.find(event.id);
  if (found == sinks_.end()) return;
  Receiver& receiver = found->second;
  receiver.emitted += event.has_token ? 1 : 0;
  if (event.finish == FinishReason::kNone) return receiver.sink->OnToken(std::move(event));
  // Its place is free before the client hears of the end and comes again.
  const std::shared_ptr<flow::TokenSink> sink = std::move(receiver.sink);
  sinks_.erase(found);
  admission_->Finished(event.id);
  sink->OnToken(std::move(event));
}

void StepLoop::FailOne(SeqId id, const std::string& reason) {
  flow::TokenEvent event;
  event.id = id;
  event.index = sinks_[id].emitted;
  event.finish = FinishReason::kError;
  event.error = reason;
  Deliver(std::move(event));
}

void StepLoop::FailAll(const std::string& reason) {
  DeliverEvents();
  EndEpoch();
  std::vector<SeqId> ids;
  for (const auto& [id, receiver] : sinks_) ids.push_back(id);
  for (const SeqId id : ids) {
    FailOne(id, reason);
    Cancel(id);
  }
  (void)scheduler_.TakeEvents();  // of requests that have had their last event
  tracker_ = StepTracker();
}

}  // namespace pamir::coordinator
