#include "cluster/worker/worker.h"

#include <unistd.h>

#include <cstdlib>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "cli/build_id.h"
#include "cli/device_choice.h"
#include "cli/options.h"
#include "cli/rank_factory.h"
#include "cli/signals.h"
#include "engine/device/cuda_device.h"

namespace pamir::cli {
namespace {

worker::WorkerOptions OptionsOf(const WorkerFlags& flags, const WorkerDevice& device) {
  worker::WorkerOptions options;
  options.connect.address = flags.coordinator;
  options.connect.tls = {.certificate = flags.tls.cert, .key = flags.tls.key, .ca = flags.tls.ca};
  options.connect.timeout = absl::Seconds(flags.join_timeout_s);
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  const char* token = std::getenv(kJoinTokenVariable);
  options.self.build_id = BuildId();
  options.self.host_name = host;
  options.self.device = NameOf(device);
  options.self.pid = getpid();
  options.self.cores = static_cast<int32_t>(std::thread::hardware_concurrency());
  options.self.token = token == nullptr ? "" : token;
  options.self.memory_bytes = device.kind == spec::DeviceKind::kCuda
                                  ? device.gpu.memory_bytes
                                  : int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
  options.on_stuck = [](const absl::Status& why) {
    LogError(absl::StrCat("ends in the middle of its work: ", std::string(why.message())));
    _exit(kExitFailed);
  };
  return options;
}

}  // namespace

int RunWorkerCommand(const WorkerFlags& flags) {
  InitLogging(flags.log_format == "json" ? LogFormat::kJson : LogFormat::kText, "worker");
  BlockSignals();
  const absl::StatusOr<WorkerDevice> device =
      ChooseWorkerDevice(flags.device, device::ListCudaDevices);
  absl::Status status = device.status();
  if (device.ok()) {
    worker::Worker worker(OptionsOf(flags, *device), MakeRankFactory(flags, *device));
    SignalThread signals([&worker](int) { worker.RequestStop(); });
    status = worker.Run();
  }
  if (status.ok()) return kExitDone;
  LogError(std::string(status.message()));
  return kExitFailed;
}

}  // namespace pamir::cli
