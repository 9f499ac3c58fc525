// Requests in, steps out, results in, tokens out: drives the scheduler. Plain state; the loop's
// thread. Time is handed in.
#ifndef PAMIR_CLUSTER_COORDINATOR_STEP_LOOP_H_
#define PAMIR_CLUSTER_COORDINATOR_STEP_LOOP_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "cluster/coordinator/admission.h"
#include "cluster/coordinator/options.h"
#include "cluster/coordinator/step_tracker.h"
#include "cluster/wire/links.h"
#include "core/flow/ports.h"
#include "core/sched/scheduler.h"

namespace pamir::coordinator {

class StepLoop {
 public:
  // `links` and `admission` must outlive it.
  StepLoop(const CoordinatorOptions& options, wire::Links* links, Admission* admission);

  // An admitted request. Whatever happens, the sink gets a last event.
  void Submit(flow::TokenRequest request, std::shared_ptr<flow::TokenSink> sink);
  void Cancel(SeqId id);
  void Stop(const flow::Stop& stop);
  void Tick(absl::Time now);  // deadlines of requests

  // All ranks of `epoch` are ready; links in rank order.
  void BeginEpoch(Epoch epoch, std::vector<wire::LinkId> links, int sampling_rank);
  // No more steps are planned in this epoch.
  void EndEpoch() { links_in_epoch_.clear(); }

  // Not OK: the rank is broken. Results of another epoch are dropped.
  absl::Status OnResult(int rank, flow::StepResult result);

  // Hands out what happened and sends the next steps, if there are any to send.
  void Proceed(absl::Time now);

  // A rank that owes an answer to a step sent before `since`.
  std::optional<int> LateRank(absl::Time since) const { return tracker_.Late(since); }

  // Every living request ends with kError and this reason; nothing runs any more.
  void FailAll(const std::string& reason);

  bool idle() const { return sinks_.empty() && !tracker_.AnyOut(); }
  bool step_out() const { return tracker_.AnyOut(); }
  bool has_requests() const { return !sinks_.empty(); }
  sched::SchedulerStats Stats() const { return scheduler_.Stats(); }

 private:
  struct Receiver {
    std::shared_ptr<flow::TokenSink> sink;
    int32_t emitted = 0;
  };

  void DeliverEvents();
  void Deliver(flow::TokenEvent event);
  void FailOne(SeqId id, const std::string& reason);

  wire::Links* const links_;
  Admission* const admission_;
  sched::Scheduler scheduler_;
  absl::flat_hash_map<SeqId, Receiver> sinks_;

  Epoch epoch_;
  std::vector<wire::LinkId> links_in_epoch_;
  int sampling_rank_ = 0;
  StepTracker tracker_;
};

}  // namespace pamir::coordinator

#endif  // PAMIR_CLUSTER_COORDINATOR_STEP_LOOP_H_
