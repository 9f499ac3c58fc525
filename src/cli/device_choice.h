// Which device --device means on this machine. The lists of GPUs come from the caller:
// device::ListCudaDevices, asked only where the answer matters.
#ifndef PAMIR_CLI_DEVICE_CHOICE_H_
#define PAMIR_CLI_DEVICE_CHOICE_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "core/spec/shard_plan.h"
#include "kernels/cuda/cuda_api.h"

namespace pamir::cli {

using Gpus = std::vector<kernels::CudaDeviceFacts>;
using ListGpus = std::function<absl::StatusOr<Gpus>()>;

// What a worker runs on.
struct WorkerDevice {
  spec::DeviceKind kind = spec::DeviceKind::kCpu;
  int index = 0;                 // of the GPU among those that this process sees
  kernels::CudaDeviceFacts gpu;  // where kind is kCuda
};

// "auto" (the first GPU, the CPU where there is none), "cpu", "cuda" (the first GPU), "cuda:N".
// What a GPU lacks is said: INVALID_ARGUMENT, or the status of `list`.
absl::StatusOr<WorkerDevice> ChooseWorkerDevice(const std::string& flag, const ListGpus& list);

// How a worker names its device to the coordinator and in status: "cpu", or "cuda:1 NVIDIA H100
// PCIe (0000:4f:00.0)", by whose address two workers on one GPU can be told.
std::string NameOf(const WorkerDevice& device);

// What the ranks of a cluster run on.
struct ClusterDevice {
  spec::DeviceKind kind = spec::DeviceKind::kCpu;
  Gpus gpus;           // of this machine, where kind is kCuda; none is possible unless local
  bool local = false;  // the ranks run on this machine
};

// "auto", "cpu", "cuda". Without a GPU here "cuda" is an error where the ranks are local.
absl::StatusOr<ClusterDevice> ChooseClusterDevice(const std::string& flag, bool local,
                                                  const ListGpus& list);

// The --device of the worker that `serve` starts as its `child`th: GPUs are dealt out in turn.
std::string DeviceOfChild(const ClusterDevice& device, int child);

// Whether the text can be a worker's --device.
bool IsWorkerDevice(const std::string& flag);

}  // namespace pamir::cli

#endif  // PAMIR_CLI_DEVICE_CHOICE_H_
