#include "support/cluster/test_cluster.h"

#include <utility>

#include "base/check.h"

namespace pamir::testing {

WorkerThread::WorkerThread(worker::WorkerOptions options, worker::RankFactory factory)
    : worker_(std::move(options), std::move(factory)),
      thread_([this] { status_ = worker_.Run(); }) {}

WorkerThread::~WorkerThread() {
  worker_.RequestStop();
  if (thread_.joinable()) thread_.join();
}

absl::Status WorkerThread::Join() {
  if (thread_.joinable()) thread_.join();
  return status_;
}

TestCluster::TestCluster(coordinator::CoordinatorOptions options, wire::ListenOptions listen)
    : ranks_(options.load.plan.ranks()), listen_(listen), coordinator_(std::move(options)) {
  auto server = wire::ControlServer::Start(listen, &coordinator_);
  PAMIR_CHECK(server.ok(), server.status().ToString());
  server_ = *std::move(server);
  coordinator_.Start(server_.get());
}

TestCluster::~TestCluster() {
  coordinator_.Stop();
  server_->Stop(absl::Seconds(1));
}

worker::WorkerOptions TestCluster::WorkerOptionsFor(int64_t pid) const {
  worker::WorkerOptions options;
  options.connect.address = server_->address();
  options.connect.tls = listen_.tls;
  options.self = FakeJoin("host-a", pid);
  options.self.token = listen_.token;
  return options;
}

WorkerThread& TestCluster::AddWorker(RankScript script) {
  return AddWorker(WorkerOptionsFor(100 + static_cast<int64_t>(workers_.size())),
                   std::move(script));
}

WorkerThread& TestCluster::AddWorker(worker::WorkerOptions options, RankScript script) {
  workers_.push_back(
      std::make_unique<WorkerThread>(std::move(options), FakeFactory(std::move(script))));
  return *workers_.back();
}

absl::Status TestCluster::AddAllWorkers(RankScript script) {
  for (int rank = 0; rank < ranks_; ++rank) AddWorker(script);
  return coordinator_.WaitUntilReady(absl::Seconds(30));
}

std::shared_ptr<CollectingSink> TestCluster::Submit(flow::TokenRequest request) {
  auto sink = std::make_shared<CollectingSink>();
  const SeqId id = request.id;
  const absl::Status status = coordinator_.Submit(std::move(request), sink);
  if (!status.ok()) {
    sink->OnToken({.id = id, .finish = FinishReason::kError, .error = status.ToString()});
  }
  return sink;
}

}  // namespace pamir::testing
