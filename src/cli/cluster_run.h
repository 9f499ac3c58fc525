// A coordinator with its doors, from start to end: what `serve` and `coordinator` share.
#ifndef PAMIR_CLI_CLUSTER_RUN_H_
#define PAMIR_CLI_CLUSTER_RUN_H_

#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "cli/device_choice.h"
#include "cli/engine_setup.h"
#include "cli/options.h"
#include "cluster/wire/control_server.h"

namespace pamir::cli {

struct ClusterRun {
  EngineFlags flags;
  ClusterDevice device;  // what --device means here
  wire::ListenOptions listen;
  std::string sample;  // a prompt to continue once everything is up; empty: none

  // Called once the coordinator listens at `address`; `serve` starts its workers here. May be null.
  std::function<absl::Status(const std::string& address)> on_listening;
  // Why the cluster cannot go on although the coordinator does not know it yet. May be null.
  std::function<std::optional<std::string>()> failure;
};

// Blocks until SIGTERM or SIGINT (drains: OK) or until the cluster has ended by itself (why).
// Prints on standard output: where workers join, the address of the API once it is ready, the
// sample.
absl::Status RunCluster(const ClusterRun& run);

}  // namespace pamir::cli

#endif  // PAMIR_CLI_CLUSTER_RUN_H_
