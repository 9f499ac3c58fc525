#include "unit/comm/gpu_ranks.h"

#include <thread>
#include <utility>

#include "base/check.h"
#include "engine/comm/connect.h"

namespace pamir::comm {
namespace {

std::string RunRank(const testing::FakeCuda& fake, const GpuWorld& world, int rank,
                    const ExchangeFn& exchange, const GpuBody& body) {
  const auto r = static_cast<size_t>(rank);
  auto device = device::CudaDevice::OpenWith(fake.api(), 0);
  if (!device.ok()) return "the device: " + device.status().ToString();
  auto stream = device::MakeStream(**device);
  if (!stream.ok()) return "a stream: " + stream.status().ToString();
  GroupOptions options;
  options.world_rank = rank;
  options.stage_of_rank = world.stage_of_rank;
  options.transport = world.transport;
  options.timeout = world.timeout;
  options.max_message_bytes = world.max_message_bytes;
  if (!world.bus_ids[r].empty()) {
    options.cuda = device->get();
    options.device_bus_id = world.bus_ids[r];
  }
  absl::StatusOr<Groups> groups = ConnectGroupsWith(world.nccl[r], options, exchange);
  if (!groups.ok()) return "connecting: " + groups.status().ToString();
  GpuRank at{rank, **device, stream->get(), *groups->stage, *groups->world, exchange};
  return body(at);
}

}  // namespace

GpuWorld OneGpuStage(int n, Transport transport, const FakeNccl& nccl) {
  GpuWorld world;
  world.transport = transport;
  for (int r = 0; r < n; ++r) {
    world.stage_of_rank.push_back(0);
    world.bus_ids.push_back("0000:0" + std::to_string(r) + ":00.0");
    world.nccl.push_back(nccl.api());
  }
  return world;
}

std::vector<std::string> RunGpuRanks(const testing::FakeCuda& fake, const GpuWorld& world,
                                     const GpuBody& body) {
  const size_t n = world.stage_of_rank.size();
  const std::vector<ExchangeFn> exchanges = ThreadExchange(static_cast<int>(n));
  std::vector<std::string> results(n);
  std::vector<std::thread> threads;
  for (size_t r = 0; r < n; ++r) {
    threads.emplace_back(
        [&, r] { results[r] = RunRank(fake, world, static_cast<int>(r), exchanges[r], body); });
  }
  for (std::thread& thread : threads) thread.join();
  return results;
}

DeviceFloats::DeviceFloats(const GpuRank& at, std::vector<float> from)
    : device_(at.device), stream_(at.stream), from_(std::move(from)) {
  const auto bytes = static_cast<int64_t>(from_.size() * sizeof(float));
  auto memory = device::AllocateCuda(device_, bytes, "floats");
  PAMIR_CHECK(memory.ok(), memory.status().ToString());
  memory_ = *std::move(memory);
  const int error = device_.api().copy(get(), from_.data(), bytes, stream_);
  PAMIR_CHECK(error == 0, device_.Check(error, "copy floats").ToString());
}

std::vector<float> DeviceFloats::Get() const {
  std::vector<float> to(from_.size());
  const auto bytes = static_cast<int64_t>(to.size() * sizeof(float));
  int error = device_.api().copy(to.data(), get(), bytes, stream_);
  if (error == 0) error = device_.api().synchronize_stream(stream_);
  PAMIR_CHECK(error == 0, device_.Check(error, "copy floats").ToString());
  return to;
}

}  // namespace pamir::comm
