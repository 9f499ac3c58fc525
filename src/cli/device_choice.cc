#include "cli/device_choice.h"

#include <algorithm>
#include <cctype>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace pamir::cli {
namespace {

constexpr char kNumbered[] = "cuda:";
constexpr size_t kPrefix = sizeof kNumbered - 1;
constexpr size_t kMaxDigits = 4;

// The N of "cuda:N", 0 of "cuda", -1 of anything else.
int IndexOf(const std::string& flag) {
  if (flag == "cuda") return 0;
  const bool numbered = flag.compare(0, kPrefix, kNumbered) == 0;
  const std::string digits = numbered ? flag.substr(kPrefix) : "";
  const bool plain = !digits.empty() && digits.size() <= kMaxDigits &&
                     std::all_of(digits.begin(), digits.end(),
                                 [](unsigned char c) { return std::isdigit(c) != 0; });
  int index = -1;
  return plain && absl::SimpleAtoi(digits, &index) ? index : -1;
}

absl::StatusOr<Gpus> NeededGpus(const std::string& flag, const ListGpus& list) {
  absl::StatusOr<Gpus> gpus = list();
  if (gpus.ok() && !gpus->empty()) return gpus;
  const std::string why = gpus.ok() ? "no GPU is visible" : std::string(gpus.status().message());
  return absl::FailedPreconditionError(
      absl::StrCat("--device ", flag, ": ", why, "; --device cpu runs without"));
}

// For "auto": none is fine, and why is worth a look only.
Gpus GpusIfAny(const ListGpus& list) {
  absl::StatusOr<Gpus> gpus = list();
  if (gpus.ok()) return *std::move(gpus);
  LogDebug(absl::StrCat("runs on the CPU: ", std::string(gpus.status().message())));
  return {};
}

}  // namespace

bool IsWorkerDevice(const std::string& flag) {
  return flag == "auto" || flag == "cpu" || IndexOf(flag) >= 0;
}

absl::StatusOr<WorkerDevice> ChooseWorkerDevice(const std::string& flag, const ListGpus& list) {
  WorkerDevice device;
  if (flag == "cpu") return device;
  if (flag == "auto") {
    const Gpus gpus = GpusIfAny(list);
    if (!gpus.empty()) device = {spec::DeviceKind::kCuda, 0, gpus.front()};
    return device;
  }
  const int index = IndexOf(flag);
  if (index < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("--device ", flag, " is none of auto, cpu, cuda, cuda:N"));
  }
  PAMIR_ASSIGN_OR_RETURN(const Gpus gpus, NeededGpus(flag, list));
  if (index >= static_cast<int>(gpus.size())) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--device ", flag, ": there is no such GPU; this process sees ", gpus.size(),
        gpus.size() == 1 ? " (cuda:0)" : absl::StrCat(" (cuda:0 to cuda:", gpus.size() - 1, ")")));
  }
  device = {spec::DeviceKind::kCuda, index, gpus[static_cast<size_t>(index)]};
  return device;
}

std::string NameOf(const WorkerDevice& device) {
  if (device.kind == spec::DeviceKind::kCpu) return "cpu";
  return absl::StrCat(kNumbered, device.index, " ", std::string(device.gpu.name), " (",
                      std::string(device.gpu.bus_id), ")");
}

absl::StatusOr<ClusterDevice> ChooseClusterDevice(const std::string& flag, bool local,
                                                  const ListGpus& list) {
  ClusterDevice device{.local = local};
  if (flag == "cpu") return device;
  if (flag == "cuda" && local) {
    PAMIR_ASSIGN_OR_RETURN(device.gpus, NeededGpus(flag, list));
  } else {
    device.gpus = GpusIfAny(list);
  }
  if (flag == "cuda" || !device.gpus.empty()) device.kind = spec::DeviceKind::kCuda;
  return device;
}

std::string DeviceOfChild(const ClusterDevice& device, int child) {
  if (device.kind == spec::DeviceKind::kCpu) return "cpu";
  return absl::StrCat(kNumbered, child % static_cast<int>(device.gpus.size()));
}

}  // namespace pamir::cli
