#include <cstdlib>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "cli/cluster_run.h"
#include "cli/options.h"
#include "cli/signals.h"
#include "engine/device/cuda_device.h"

namespace pamir::cli {

int RunCoordinator(const CoordinatorFlags& flags) {
  InitLogging(flags.engine.log_format == "json" ? LogFormat::kJson : LogFormat::kText,
              "coordinator");
  BlockSignals();
  const int ranks = flags.engine.tensor_parallel * flags.engine.pipeline_parallel;
  if (flags.workers != 0 && flags.workers != ranks) {
    LogError(absl::StrCat("--workers ", flags.workers, ": tp x pp needs ", ranks));
    return kExitFailed;
  }
  ClusterRun run{.flags = flags.engine};
  run.listen.address = flags.worker_listen;
  run.listen.tls = {.certificate = flags.tls.cert, .key = flags.tls.key, .ca = flags.tls.ca};
  const char* token = std::getenv(kJoinTokenVariable);
  run.listen.token = token == nullptr ? "" : token;
  run.on_listening = [&](const std::string& address) {
    std::cout << "Workers join at " << address << "; waiting for " << ranks << std::endl;
    return absl::OkStatus();
  };
  absl::StatusOr<ClusterDevice> device =
      ChooseClusterDevice(flags.engine.device, /*local=*/false, device::ListCudaDevices);
  absl::Status status = device.status();
  if (status.ok()) {
    run.device = *std::move(device);
    status = RunCluster(run);
  }
  if (status.ok()) return kExitDone;
  LogError(std::string(status.message()));
  return kExitFailed;
}

}  // namespace pamir::cli
