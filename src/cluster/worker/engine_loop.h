// What the engine's thread of a worker does: loads once, then runs steps in order.
#ifndef PAMIR_CLUSTER_WORKER_ENGINE_LOOP_H_
#define PAMIR_CLUSTER_WORKER_ENGINE_LOOP_H_

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <variant>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/wake_queue.h"
#include "cluster/wire/messages.h"
#include "cluster/worker/abort_hook.h"
#include "cluster/worker/exchange_client.h"
#include "cluster/worker/rank_factory.h"

namespace pamir::worker {

inline constexpr size_t kMaxQueuedWork = 64;  // steps and orders that wait for the engine

class EngineLoop {
 public:
  using Work = std::variant<wire::Load, flow::StepPlan, wire::Drain>;
  using SendFn = std::function<bool(const wire::FromWorker&)>;

  // `send` is thread-safe. `cores`: of this process, which decides whether a wait may spin.
  EngineLoop(RankFactory factory, SendFn send, int cores, absl::Duration exchange_timeout);
  ~EngineLoop();

  // From any thread. False: the queue is full.
  [[nodiscard]] bool Push(Work work) { return queue_.TryPush(std::move(work)); }
  void Answer(wire::Exchanged answer) { exchange_.Answer(std::move(answer)); }
  // Ends whatever the rank waits for.
  void Abort(const absl::Status& why);
  // Run ends after the step that is running; a load is broken off where it can be.
  void Stop();
  uint64_t steps() const { return steps_.load(std::memory_order_relaxed); }

  // The engine's thread: returns OK after Stop, else why the rank is dead (the coordinator was
  // told).
  absl::Status Run();
  Epoch epoch() const { return epoch_; }  // the engine's thread

 private:
  std::deque<Work> TakeWork(bool stepping);
  absl::Status RunWork(Work& work);
  absl::Status Load(const wire::Load& load);
  absl::Status BeginStep(const flow::StepPlan& plan);
  absl::Status FinishStep();
  void SendProgress(int64_t done, int64_t total) ABSL_LOCKS_EXCLUDED(progress_mutex_);
  RankHooks MakeHooks(RankReport* report);

  const RankFactory factory_;
  const SendFn send_;
  const int cores_;
  WakeQueue<Work> queue_{kMaxQueuedWork};
  ExchangeClient exchange_;
  AbortHook abort_;
  std::atomic<bool> stop_{false};
  std::atomic<bool> loading_{false};
  std::atomic<uint64_t> steps_{0};

  // The engine's thread only.
  Epoch epoch_;
  bool spin_ = false;
  std::unique_ptr<flow::Rank> rank_;
  std::deque<absl::Time> begun_;  // steps that the rank was given and has not given back

  absl::Mutex progress_mutex_;
  absl::Time next_progress_ ABSL_GUARDED_BY(progress_mutex_) = absl::InfinitePast();
};

}  // namespace pamir::worker

#endif  // PAMIR_CLUSTER_WORKER_ENGINE_LOOP_H_
