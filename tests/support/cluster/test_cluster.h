// A coordinator and worker threads over real gRPC in one process.
#ifndef PAMIR_TESTS_SUPPORT_CLUSTER_TEST_CLUSTER_H_
#define PAMIR_TESTS_SUPPORT_CLUSTER_TEST_CLUSTER_H_

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "cluster/coordinator/coordinator.h"
#include "cluster/wire/control_server.h"
#include "cluster/worker/worker.h"
#include "support/cluster/cluster_parts.h"

namespace pamir::testing {

// One worker on its own thread.
class WorkerThread {
 public:
  WorkerThread(worker::WorkerOptions options, worker::RankFactory factory);
  ~WorkerThread();  // stops it

  void RequestStop() { worker_.RequestStop(); }
  absl::Status Join();  // how it ended

 private:
  worker::Worker worker_;
  absl::Status status_;
  std::thread thread_;
};

class TestCluster {
 public:
  explicit TestCluster(coordinator::CoordinatorOptions options, wire::ListenOptions listen = {});
  ~TestCluster();

  // As `options.connect` and `options.self` of a worker of this cluster.
  worker::WorkerOptions WorkerOptionsFor(int64_t pid) const;
  WorkerThread& AddWorker(RankScript script = {});
  WorkerThread& AddWorker(worker::WorkerOptions options, RankScript script = {});
  // All that the plan asks for, and waits until they are ready.
  absl::Status AddAllWorkers(RankScript script = {});

  // Submits; a refusal fails the sink's wait.
  std::shared_ptr<CollectingSink> Submit(flow::TokenRequest request);

  coordinator::Coordinator& coordinator() { return coordinator_; }
  wire::ControlServer& server() { return *server_; }
  WorkerThread& worker(int index) { return *workers_[index]; }

 private:
  const int ranks_;
  const wire::ListenOptions listen_;
  coordinator::Coordinator coordinator_;
  std::unique_ptr<wire::ControlServer> server_;
  std::vector<std::unique_ptr<WorkerThread>> workers_;
};

}  // namespace pamir::testing

#endif  // PAMIR_TESTS_SUPPORT_CLUSTER_TEST_CLUSTER_H_
