// The communicators of GPU ranks, on a GPU: one rank over NCCL, also inside graphs; two ranks on
// one GPU, staged; and what NCCL says of two ranks on one GPU. Exit status 1 if anything is wrong.
#include "gpu/comm/comm_gpu.h"

#include <cstdio>
#include <functional>
#include <numeric>

#include "base/check.h"
#include "base/status_macros.h"
#include "unit/comm/parts.h"

namespace pamir::comm {

RunOptions OnOneGpu(int n, Transport transport, GpuProcess* process,
                    const std::vector<std::string>& bus_ids) {
  RunOptions run = OneStage(n);
  run.max_message_bytes = int64_t{48} << 20;
  run.prepare = [transport, process, bus_ids](GroupOptions& options) -> absl::Status {
    PAMIR_ASSIGN_OR_RETURN(process->device, device::CudaDevice::Open(0));
    PAMIR_ASSIGN_OR_RETURN(process->stream, device::MakeStream(*process->device));
    options.transport = transport;
    options.cuda = process->device.get();
    if (!bus_ids.empty()) {
      options.device_bus_id = bus_ids[static_cast<size_t>(options.world_rank)];
    }
    return absl::OkStatus();
  };
  return run;
}

absl::StatusOr<device::CudaMemory> Upload(const GpuProcess& at, const std::vector<float>& from) {
  const auto bytes = static_cast<int64_t>(from.size() * sizeof(float));
  PAMIR_ASSIGN_OR_RETURN(device::CudaMemory to,
                         device::AllocateCuda(*at.device, bytes, "floats of the test"));
  if (bytes == 0) return to;
  const StreamRef stream = at.stream.get();
  int error = at.api().copy(to.get(), from.data(), bytes, stream);
  if (error == 0) error = at.api().synchronize_stream(stream);
  PAMIR_RETURN_IF_ERROR(at.device->Check(error, "copy"));
  return to;
}

std::vector<float> Download(const GpuProcess& at, const device::CudaMemory& from, int64_t count) {
  std::vector<float> to(static_cast<size_t>(count));
  if (count == 0) return to;
  const StreamRef stream = at.stream.get();
  int error = at.api().copy(to.data(), from.get(), count * 4, stream);
  if (error == 0) error = at.api().synchronize_stream(stream);
  PAMIR_CHECK(error == 0, at.device->Check(error, "copy").ToString());
  return to;
}

namespace {

std::vector<int> Ranks(int n) {
  std::vector<int> ranks(static_cast<size_t>(n));
  std::iota(ranks.begin(), ranks.end(), 0);
  return ranks;
}

#define WANT_UPLOAD(name, floats)                                \
  absl::StatusOr<device::CudaMemory> name = Upload(gpu, floats); \
  WANT_OK(name.status())

std::string CheckSums(RankContext& at, const GpuProcess& gpu) {
  const int n = at.world().size();
  for (int64_t count : {0, 1, 2, 3, 384, 10'240, 65'536, 65'537, 1'000'001, 10'485'760}) {
    WANT_UPLOAD(data, PartsOf(at.rank, count));
    WANT_OK(at.world().AllReduce(Floats(*data), count, gpu.stream.get()));
    WANT(SameBits(Download(gpu, *data, count), FoldInOrder(Ranks(n), count)));
  }
  return "";
}

std::string CheckGather(RankContext& at, const GpuProcess& gpu) {
  const int n = at.world().size();
  for (int root = 0; root < n; ++root) {
    std::vector<int64_t> counts;
    std::vector<float> wanted;
    for (int r = 0; r < n; ++r) {
      counts.push_back(r == 0 ? 5 : 600'000);
      const std::vector<float> part = PartsOf(r, counts.back());
      wanted.insert(wanted.end(), part.begin(), part.end());
    }
    const auto total = static_cast<int64_t>(wanted.size());
    WANT_UPLOAD(mine, PartsOf(at.rank, counts[static_cast<size_t>(at.rank)]));
    WANT_UPLOAD(all, std::vector<float>(wanted.size()));
    WANT_OK(at.world().Gather(root, Floats(*mine), counts, Floats(*all), gpu.stream.get()));
    if (at.rank == root) WANT(SameBits(Download(gpu, *all, total), wanted));
    gpu.api().synchronize_stream(gpu.stream.get());
  }
  return "";
}

std::string CheckMessages(RankContext& at, const GpuProcess& gpu) {
  const int n = at.world().size();
  for (int64_t count : {1, 12'288, 3'000'000}) {
    for (int root = 0; root < n; ++root) {
      WANT_UPLOAD(data, PartsOf(at.rank, count));
      WANT_OK(at.world().Broadcast(root, data->get(), count * 4, gpu.stream.get()));
      WANT(SameBits(Download(gpu, *data, count), PartsOf(root, count)));
    }
    if (n == 1) continue;
    WANT_UPLOAD(data, PartsOf(at.rank, count));
    if (at.rank == 0) WANT_OK(at.world().Send(1, data->get(), count * 4, gpu.stream.get()));
    if (at.rank == 1) {
      WANT_OK(at.world().Recv(0, data->get(), count * 4, gpu.stream.get()));
      WANT(SameBits(Download(gpu, *data, count), PartsOf(0, count)));
    }
    gpu.api().synchronize_stream(gpu.stream.get());
  }
  return "";
}

// Each way of summing, three times over what the one before left, from one graph.
std::string CheckGraph(RankContext& at, const GpuProcess& gpu) {
  WANT(at.world().capturable());
  const StreamRef stream = gpu.stream.get();
  for (int64_t count : {10'240, 1'000'001}) {
    WANT_UPLOAD(data, PartsOf(0, count));
    WANT_UPLOAD(copy, std::vector<float>(static_cast<size_t>(count)));
    void* graph = nullptr;
    WANT_OK(gpu.device->Check(gpu.api().begin_capture(stream), "begin a graph"));
    const absl::Status sum = at.world().AllReduce(Floats(*data), count, stream);
    const absl::Status gather = at.world().Gather(0, Floats(*data), {count}, Floats(*copy), stream);
    const int ended = gpu.api().end_capture(stream, &graph);
    WANT_OK(sum);
    WANT_OK(gather);
    WANT_OK(gpu.device->Check(ended, "end a graph"));
    const device::CudaGraph owned(*gpu.device, graph);
    for (int i = 0; i < 3; ++i) {
      WANT_OK(gpu.device->Check(gpu.api().launch_graph(graph, stream), "launch a graph"));
    }
    WANT(SameBits(Download(gpu, *copy, count), PartsOf(0, count)));  // a group of one
  }
  return "";
}

int failures = 0;

void Report(const char* name, const std::vector<std::string>& results,
            const std::string& wanted = "") {
  bool good = !results.empty();
  for (const std::string& result : results) {
    good = good && (wanted.empty() ? result.empty() : result.find(wanted) != std::string::npos);
  }
  std::printf("%-48s %s\n", name, good ? "ok" : "FAILED");
  for (const std::string& result : results) {
    if (!result.empty()) std::printf("    %s\n", result.c_str());
  }
  if (!good) ++failures;
}

void Run(const char* name, int n, Transport transport,
         const std::vector<std::function<std::string(RankContext&, const GpuProcess&)>>& checks) {
  GpuProcess process;
  Report(name, RunRanks(Way::kShmProcesses, OnOneGpu(n, transport, &process),
                        [&](RankContext& at) -> std::string {
                          for (const auto& check : checks) {
                            const std::string result = check(at, process);
                            if (!result.empty()) return result;
                          }
                          at.groups = {};  // before the device
                          return "";
                        }));
}

}  // namespace
}  // namespace pamir::comm

int main() {
  using namespace pamir::comm;  // NOLINT: a test program
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  Run("one rank, nothing", 1, Transport::kAuto,
      {CheckSums, CheckGather, CheckMessages, CheckGraph});
  Run("one rank, NCCL", 1, Transport::kNccl,
      {CheckSums, CheckGather, CheckMessages, CheckGraph, TimeNccl});
  Run("two ranks on one GPU, staged over shm", 2, Transport::kAuto,
      {CheckSums, CheckGather, CheckMessages, TimeStaged});
  Run("two ranks on one GPU, staged over Gloo", 2, Transport::kGloo,
      {CheckSums, CheckGather, CheckMessages, TimeStaged});
  GpuProcess process;
  const RankBody nothing = [](RankContext&) { return std::string("connected"); };
  Report("two ranks on one GPU, NCCL: refused",
         RunRanks(Way::kShmProcesses, OnOneGpu(2, Transport::kNccl, &process), nothing),
         "NCCL wants a GPU for each rank");
  // Ranks that lie about their GPUs: NCCL itself notices.
  RunOptions lie = OnOneGpu(2, Transport::kNccl, &process, {"here", "there"});
  Report("two ranks on one GPU, NCCL's own words", RunRanks(Way::kShmProcesses, lie, nothing),
         "(NCCL)");
  return failures == 0 ? 0 : 1;
}
