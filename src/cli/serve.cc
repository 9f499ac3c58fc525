#include <sys/random.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "cli/children.h"
#include "cli/cluster_run.h"
#include "cli/options.h"
#include "cli/signals.h"
#include "engine/device/cuda_device.h"

namespace pamir::cli {
namespace {

constexpr absl::Duration kWorkersLeaveWithin = absl::Seconds(5);

// A directory that only this user can enter, for the workers' socket; removed with the object.
class PrivateDirectory {
 public:
  PrivateDirectory() {
    std::error_code ignored;
    std::string name = (std::filesystem::temp_directory_path(ignored) / "pamir-XXXXXX").string();
    if (!ignored && mkdtemp(name.data()) != nullptr) path_ = name;
  }
  ~PrivateDirectory() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::string RandomToken() {
  char bytes[16];
  if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes) return "";
  return std::string(absl::BytesToHexString(std::string(bytes, sizeof bytes)));
}

absl::Status Serve(const ServeFlags& flags) {
  const PrivateDirectory directory;
  const std::string token = RandomToken();
  if (directory.path().empty() || token.empty()) {
    return absl::UnavailableError(
        "cannot make a private directory for the workers' socket; TMPDIR (else /tmp) must be a "
        "directory that this user may write to");
  }
  Children workers;
  ClusterRun run{.flags = flags.engine, .sample = flags.sample};
  PAMIR_ASSIGN_OR_RETURN(run.device, ChooseClusterDevice(flags.engine.device, /*local=*/true,
                                                         device::ListCudaDevices));
  run.listen.address = absl::StrCat("unix:", directory.path(), "/workers");
  run.listen.token = token;
  run.on_listening = [&](const std::string& address) -> absl::Status {
    const int count = flags.engine.tensor_parallel * flags.engine.pipeline_parallel;
    for (int i = 0; i < count; ++i) {
      const absl::Status started =
          workers.Start({"worker", "--coordinator", address, "--device",
                         DeviceOfChild(run.device, i), "--log-format", flags.engine.log_format},
                        {absl::StrCat(kJoinTokenVariable, "=", token)});
      if (!started.ok()) return started;
    }
    return absl::OkStatus();
  };
  run.failure = [&] { return workers.Failed(); };
  const absl::Status status = RunCluster(run);
  workers.WaitForAll(kWorkersLeaveWithin);
  return status;
}

}  // namespace

int RunServe(const ServeFlags& flags) {
  InitLogging(flags.engine.log_format == "json" ? LogFormat::kJson : LogFormat::kText, "serve");
  BlockSignals();
  const absl::Status status = Serve(flags);
  if (status.ok()) return kExitDone;
  LogError(std::string(status.message()));
  return kExitFailed;
}

}  // namespace pamir::cli
