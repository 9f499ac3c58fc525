// Ranks as threads, each on the fake GPU, connected as ConnectGroups would.
#ifndef PAMIR_TESTS_UNIT_COMM_GPU_RANKS_H_
#define PAMIR_TESTS_UNIT_COMM_GPU_RANKS_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/comm/communicator.h"
#include "engine/comm/nccl_api.h"
#include "engine/device/cuda_device.h"
#include "support/fake_cuda/fake_cuda.h"
#include "unit/comm/fake_nccl.h"
#include "unit/comm/rank_harness.h"

namespace pamir::comm {

// One device, one stream a rank.
struct GpuRank {
  int rank;
  const device::CudaDevice& device;
  StreamRef stream;
  Communicator& stage;
  Communicator& world;
  const ExchangeFn& exchange;
};

// Returns "" or what went wrong.
using GpuBody = std::function<std::string(GpuRank&)>;

struct GpuWorld {
  std::vector<int> stage_of_rank;
  Transport transport = Transport::kAuto;
  std::vector<std::string> bus_ids;  // [world]; "" is a rank on a CPU
  absl::Duration timeout = absl::Seconds(30);
  int64_t max_message_bytes = int64_t{8} << 20;
  std::vector<absl::StatusOr<const NcclApi*>> nccl;  // [world]
};

// n ranks of one stage, each on a GPU of its own.
GpuWorld OneGpuStage(int n, Transport transport, const FakeNccl& nccl);

// [rank]: what the body returned, or the error of connecting.
std::vector<std::string> RunGpuRanks(const testing::FakeCuda& fake, const GpuWorld& world,
                                     const GpuBody& body);

// Floats in a device's memory.
class DeviceFloats {
 public:
  // Copied when somebody waits for the stream; `from` is kept until then.
  DeviceFloats(const GpuRank& at, std::vector<float> from);
  DeviceFloats(const GpuRank& at, int64_t count) : DeviceFloats(at, Blank(count)) {}
  float* get() const { return static_cast<float*>(memory_.get()); }
  std::vector<float> Get() const;

 private:
  static std::vector<float> Blank(int64_t count) {
    return std::vector<float>(static_cast<size_t>(count), -1.0f);
  }

  const device::CudaDevice& device_;
  const StreamRef stream_;
  const std::vector<float> from_;
  device::CudaMemory memory_;
};

}  // namespace pamir::comm

#endif  // PAMIR_TESTS_UNIT_COMM_GPU_RANKS_H_
