// The rank process: joins the coordinator, is given a rank, loads, runs steps, beats.
#ifndef PAMIR_CLUSTER_WORKER_WORKER_H_
#define PAMIR_CLUSTER_WORKER_WORKER_H_

#include <atomic>
#include <functional>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "cluster/wire/control_client.h"
#include "cluster/wire/links.h"
#include "cluster/worker/engine_loop.h"
#include "cluster/worker/rank_factory.h"

namespace pamir::worker {

struct WorkerOptions {
  wire::ConnectOptions connect;
  wire::Join self;  // what the coordinator is told about this process
  absl::Duration heartbeat = absl::Milliseconds(500);
  absl::Duration exchange_timeout = absl::Minutes(15);
  // Called where the engine's thread has not ended `stop_grace` after it was told to (it may be
  // deep in a read): the program should leave then, for Run waits on. Null: it just waits.
  absl::Duration stop_grace = absl::Seconds(5);
  std::function<void(const absl::Status& why)> on_stuck;
};

// Connects this handler to a coordinator; `stop_waiting` true ends the attempt with CANCELLED.
using ConnectFn = std::function<absl::StatusOr<std::unique_ptr<wire::CoordinatorLink>>(
    wire::CoordinatorLinkHandler* handler, std::function<bool()> stop_waiting)>;

class Worker final : private wire::CoordinatorLinkHandler {
 public:
  // Over gRPC as options.connect says, or over a link of one's own.
  Worker(const WorkerOptions& options, RankFactory factory);
  Worker(WorkerOptions options, RankFactory factory, ConnectFn connect);

  // Once; blocks until the end. OK: the coordinator shut the cluster down, or RequestStop. Else
  // why: no coordinator, refused, the coordinator lost, the rank dead.
  absl::Status Run();

  // From any thread (not from a signal handler): Run ends after the step that is running.
  void RequestStop();

 private:
  void OnMessage(wire::ToWorker message) override;
  void OnGone(absl::Status reason) override;

  void Welcome(const wire::Welcome& welcome);
  void PushWork(EngineLoop::Work work);
  bool Send(const wire::FromWorker& message);
  void End(const absl::Status& why) ABSL_LOCKS_EXCLUDED(mutex_);  // the first one counts
  absl::Status BeatUntilEnded() ABSL_LOCKS_EXCLUDED(mutex_);
  void EngineMain() ABSL_LOCKS_EXCLUDED(mutex_);
  void WaitForEngine(const absl::Status& why) ABSL_LOCKS_EXCLUDED(mutex_);

  const WorkerOptions options_;
  const ConnectFn connect_;
  EngineLoop engine_;
  std::unique_ptr<wire::CoordinatorLink> link_;  // set before the engine's thread starts
  std::atomic<bool> stop_requested_{false};

  absl::Mutex mutex_;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  bool engine_done_ ABSL_GUARDED_BY(mutex_) = false;
};

absl::Status RunWorker(const WorkerOptions& options, RankFactory factory);

}  // namespace pamir::worker

#endif  // PAMIR_CLUSTER_WORKER_WORKER_H_
