// What a worker needs from the engine: a way to build the rank it was told to be.
#ifndef PAMIR_CLUSTER_WORKER_RANK_FACTORY_H_
#define PAMIR_CLUSTER_WORKER_RANK_FACTORY_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/flow/load_request.h"
#include "core/flow/ports.h"

namespace pamir::worker {

// What a built rank holds, for status.
struct RankReport {
  int64_t weight_bytes = 0;
  int64_t kv_bytes = 0;
  std::string transport;  // "shm", "gloo", ...
};

// What the worker offers to the factory. All may be kept as long as the rank lives.
struct RankHooks {
  // comm::ExchangeFn: one string of every rank to every rank, in rank order. Blocks; called from
  // the engine's thread. Its error names the ranks that did not come.
  std::function<absl::StatusOr<std::vector<std::string>>(const std::string& mine)> exchange;

  // Bytes loaded so far; from any thread, as often as one likes.
  std::function<void(int64_t done, int64_t total)> progress;

  // `abort` will be called once, from another thread, when waiting for peers has become pointless:
  // it must end whatever the rank waits for, and not block. Replaces the one before. Called at once
  // where that moment has already passed. Never called after the rank was destroyed.
  std::function<void(std::function<void(const absl::Status& why)> abort)> on_abort;

  // Before the factory returns.
  std::function<void(const RankReport&)> report;

  // True once the process is to end: a long load should stop with CANCELLED.
  std::function<bool()> stop_requested;
};

// Connects to the peers, loads and builds. Called on the engine's thread, as Step is.
using RankFactory = std::function<absl::StatusOr<std::unique_ptr<flow::Rank>>(
    const flow::LoadRequest& request, const RankHooks& hooks)>;

}  // namespace pamir::worker

#endif  // PAMIR_CLUSTER_WORKER_RANK_FACTORY_H_
