// Ranks as forked processes on GPU 0. The parent touches no GPU: CUDA does not survive a fork.
#ifndef PAMIR_TESTS_GPU_COMM_COMM_GPU_H_
#define PAMIR_TESTS_GPU_COMM_COMM_GPU_H_

#include <memory>
#include <string>
#include <vector>

#include "engine/comm/communicator.h"
#include "engine/device/cuda_device.h"
#include "unit/comm/rank_harness.h"

namespace pamir::comm {

// What a rank's process has, for as long as it lives.
struct GpuProcess {
  std::unique_ptr<device::CudaDevice> device;
  device::CudaStream stream;
  const kernels::CudaApi& api() const { return device->api(); }
};

// n ranks of one stage on GPU 0. bus_ids: what each says it is on; empty: the truth.
RunOptions OnOneGpu(int n, Transport transport, GpuProcess* process,
                    const std::vector<std::string>& bus_ids = {});

// Floats on the GPU, and back.
absl::StatusOr<device::CudaMemory> Upload(const GpuProcess& at, const std::vector<float>& from);
std::vector<float> Download(const GpuProcess& at, const device::CudaMemory& from, int64_t count);
inline float* Floats(const device::CudaMemory& memory) { return static_cast<float*>(memory.get()); }

// Prints times; comm_speed.cc.
std::string TimeStaged(RankContext& at, const GpuProcess& gpu);
std::string TimeNccl(RankContext& at, const GpuProcess& gpu);

}  // namespace pamir::comm

#endif  // PAMIR_TESTS_GPU_COMM_COMM_GPU_H_
