// What a sum between ranks costs, beside what its copies alone cost.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>

#include "gpu/comm/comm_gpu.h"
#include "unit/comm/parts.h"

namespace pamir::comm {
namespace {

// Median microseconds of `once`, which returns an error or OK. In `*failed`: the first error.
double MedianMicroseconds(int repeats, absl::Status* failed,
                          const std::function<absl::Status()>& once) {
  std::vector<double> times;
  for (int i = 0; i < repeats + 5 && failed->ok(); ++i) {
    const auto begin = std::chrono::steady_clock::now();
    *failed = once();
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - begin;
    if (i >= 5) times.push_back(took.count());
  }
  if (times.empty()) return 0;
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

absl::Status Await(const GpuProcess& gpu) {
  return gpu.device->Check(gpu.api().synchronize_stream(gpu.stream.get()), "wait");
}

// To pinned memory and back.
absl::Status CopyBothWays(const GpuProcess& gpu, void* device, void* pinned, int64_t bytes) {
  const kernels::CudaApi& api = gpu.api();
  int error = api.copy(pinned, device, bytes, gpu.stream.get());
  if (error == 0) error = api.synchronize_stream(gpu.stream.get());
  if (error == 0) error = api.copy(device, pinned, bytes, gpu.stream.get());
  if (error == 0) error = api.synchronize_stream(gpu.stream.get());
  return gpu.device->Check(error, "copy");
}

}  // namespace

std::string TimeStaged(RankContext& at, const GpuProcess& gpu) {
  for (int64_t count : {10'240, 1'310'720, 10'485'760}) {
    absl::StatusOr<device::CudaMemory> data = Upload(gpu, PartsOf(at.rank, count));
    WANT_OK(data.status());
    absl::StatusOr<device::PinnedMemory> pinned =
        device::AllocatePinned(*gpu.device, count * 4, "the test");
    WANT_OK(pinned.status());
    absl::Status failed;
    const int repeats = count < 100'000 ? 300 : 20;
    const double copies = MedianMicroseconds(
        repeats, &failed, [&] { return CopyBothWays(gpu, data->get(), pinned->get(), count * 4); });
    const double sum = MedianMicroseconds(repeats, &failed, [&] {
      const absl::Status status = at.world().AllReduce(Floats(*data), count, gpu.stream.get());
      return status.ok() ? Await(gpu) : status;
    });
    WANT_OK(failed);
    if (at.rank == 0) {
      std::printf(
          "    %s all-reduce of %lld bytes, 2 ranks: %.1f us; its two copies alone %.1f us\n",
          at.world().transport(), static_cast<long long>(count * 4), sum, copies);
    }
  }
  return "";
}

std::string TimeNccl(RankContext& at, const GpuProcess& gpu) {
  constexpr int64_t kCount = 10'240;
  constexpr int kSums = 80;
  const StreamRef stream = gpu.stream.get();
  absl::StatusOr<device::CudaMemory> data = Upload(gpu, PartsOf(0, kCount));
  WANT_OK(data.status());
  absl::Status failed;
  const auto sums = [&] {
    absl::Status status;
    for (int i = 0; i < kSums && status.ok(); ++i) {
      status = at.world().AllReduce(Floats(*data), kCount, stream);
    }
    return status;
  };
  const double queued = MedianMicroseconds(20, &failed, [&] {
    const absl::Status status = sums();
    return status.ok() ? Await(gpu) : status;
  });
  void* graph = nullptr;
  WANT_OK(gpu.device->Check(gpu.api().begin_capture(stream), "begin a graph"));
  const absl::Status captured = sums();
  const int ended = gpu.api().end_capture(stream, &graph);
  WANT_OK(captured);
  WANT_OK(gpu.device->Check(ended, "end a graph"));
  const device::CudaGraph owned(*gpu.device, graph);
  const double launched = MedianMicroseconds(20, &failed, [&] {
    const int error = gpu.api().launch_graph(graph, stream);
    return error == 0 ? Await(gpu) : gpu.device->Check(error, "launch a graph");
  });
  WANT_OK(failed);
  std::printf("    NCCL all-reduce of %lld bytes, 1 rank: %.1f us queued, %.1f us in a graph\n",
              static_cast<long long>(kCount * 4), queued / kSums, launched / kSums);
  return "";
}

}  // namespace pamir::comm
