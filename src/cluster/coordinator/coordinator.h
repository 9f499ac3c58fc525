// The coordinator: one thread that owns scheduler, ledger and membership; the engine that the doors
// drive; the handler of the workers' links.
//
//   Coordinator coordinator(options);
//   auto server = wire::ControlServer::Start(listen, &coordinator);
//   coordinator.Start(server->get());
//   ... serve ...
//   coordinator.Drain(); status = coordinator.WaitUntilEnded();   // or it ends by itself
//   coordinator.Stop();      // before the server is destroyed
#ifndef PAMIR_CLUSTER_COORDINATOR_COORDINATOR_H_
#define PAMIR_CLUSTER_COORDINATOR_COORDINATOR_H_

#include <atomic>
#include <memory>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/wake_queue.h"
#include "cluster/coordinator/admission.h"
#include "cluster/coordinator/core.h"
#include "cluster/coordinator/options.h"
#include "cluster/wire/links.h"
#include "core/flow/ports.h"

namespace pamir::coordinator {

// Messages of workers that wait for the loop; a worker that sends more is cut off.
inline constexpr size_t kMaxWorkerInputs = 1 << 14;

class Coordinator final : public flow::Engine, public wire::LinkHandler {
 public:
  explicit Coordinator(CoordinatorOptions options, Clock* clock = RealClock());
  ~Coordinator() override;  // Stop()

  // Starts the loop; waiting for workers begins. `links` must live until Stop returned.
  void Start(wire::Links* links);

  // OK once requests are taken; else why the cluster ended, or DEADLINE_EXCEEDED.
  absl::Status WaitUntilReady(absl::Duration timeout);

  // Takes nothing new, finishes what runs (up to the drain timeout), sends the workers home, ends.
  void Drain();
  // Ends now; what runs fails. Returns when the loop has ended.
  void Stop();
  // Blocks until the cluster has ended. OK: it was asked to; else what broke.
  absl::Status WaitUntilEnded();
  bool ended() const;

  // ---- flow::Engine ----
  absl::Status Submit(flow::TokenRequest request, std::shared_ptr<flow::TokenSink> sink) override;
  void Cancel(SeqId id) override;
  void Stop(SeqId id, int32_t choice, int32_t index) override;
  flow::EngineStats Stats() const override;

  // ---- wire::LinkHandler ----
  void OnJoin(wire::LinkId link, wire::Join join) override;
  void OnMessage(wire::LinkId link, wire::FromWorker message) override;
  void OnGone(wire::LinkId link, absl::Status reason) override;

 private:
  void LoopMain(wire::Links* links);
  void Publish(const Core& core, absl::Time now) ABSL_LOCKS_EXCLUDED(mutex_);
  void FailLateComers(Core* core, absl::Time now);

  const CoordinatorOptions options_;
  Clock* const clock_;
  Admission admission_;
  const size_t reserved_inputs_;  // places of the inbox that workers' messages leave free
  WakeQueue<Input> inbox_;
  std::atomic<wire::Links*> links_{nullptr};
  std::thread loop_;

  absl::Time next_publish_ = absl::InfinitePast();  // the loop's thread
  mutable absl::Mutex mutex_;
  flow::EngineStats stats_ ABSL_GUARDED_BY(mutex_);
  bool ready_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace pamir::coordinator

#endif  // PAMIR_CLUSTER_COORDINATOR_COORDINATOR_H_
