#include "cli/rank_factory.h"

#include <algorithm>
#include <functional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "base/units.h"
#include "engine/comm/communicator.h"
#include "engine/device/cuda_device.h"
#include "engine/model/cuda_rank.h"
#include "engine/model/opt_rank.h"
#include "engine/model/step_buffers.h"
#include "engine/weights/cuda_weights.h"
#include "engine/weights/rank_weights.h"
#include "engine/weights/tensor_source.h"

namespace pamir::cli {
namespace {

int Cores() { return std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }

int ThreadsFor(const WorkerFlags& flags, const flow::LoadRequest& request) {
  if (flags.threads > 0) return flags.threads;
  if (request.threads > 0) return request.threads;
  return std::max(1, Cores() / std::max(1, request.ranks_on_host));
}

absl::StatusOr<std::unique_ptr<weights::TensorSource>> OpenSource(
    const std::string& model_directory, const flow::LoadRequest& request) {
  if (request.format == flow::LoadFormat::kDummy) {
    return weights::MakeDummySource(
        request.model, {.seed = request.dummy_seed, .relu_density = request.dummy_relu_density});
  }
  return weights::OpenCheckpoint(model_directory);
}

comm::Transport TransportOf(flow::RankTransport transport) {
  switch (transport) {
    case flow::RankTransport::kAuto:
      return comm::Transport::kAuto;
    case flow::RankTransport::kShm:
      return comm::Transport::kShm;
    case flow::RankTransport::kGloo:
      return comm::Transport::kGloo;
    case flow::RankTransport::kNccl:
      return comm::Transport::kNccl;
    case flow::RankTransport::kStaged:
      return comm::Transport::kStaged;
  }
  return comm::Transport::kAuto;
}

// What every way of building a rank is given.
struct Order {
  const WorkerFlags& flags;
  const flow::LoadRequest& request;
  const worker::RankHooks& hooks;
  int threads = 1;
};

std::function<void(weights::LoadProgress)> ProgressOf(const Order& order) {
  return [&order](weights::LoadProgress progress) {
    order.hooks.progress(progress.bytes_done, progress.bytes_total);
  };
}

// `device` null: between hosts' memories.
absl::StatusOr<comm::Groups> Connect(const Order& order, comm::Transport transport,
                                     const device::CudaDevice* device) {
  const flow::LoadRequest& request = order.request;
  comm::GroupOptions options{
      .world_rank = request.rank,
      .transport = transport,
      .data_interface = order.flags.data_interface,
      .timeout = request.comm_timeout,
      .max_message_bytes = model::MaxMessageBytes(request.model, request.plan),
      .spin = Cores() >= request.ranks_on_host,
      .cuda = device};
  for (int rank = 0; rank < request.plan.ranks(); ++rank) {
    options.stage_of_rank.push_back(spec::PlaceOfRank(request.plan, rank).stage);
  }
  return comm::ConnectGroups(options, order.hooks.exchange);
}

// Whatever waits for a peer ends when waiting has become pointless.
void AbortTogether(const Order& order, std::vector<std::shared_ptr<comm::Communicator>> groups) {
  std::erase(groups, nullptr);
  if (groups.empty()) return;
  // Not kept alive by the hook: they end before the device whose memory they use.
  std::vector<std::weak_ptr<comm::Communicator>> weak(groups.begin(), groups.end());
  order.hooks.on_abort([weak = std::move(weak)](const absl::Status& why) {
    for (const auto& group : weak) {
      if (const auto held = group.lock()) held->Abort(why);
    }
  });
}

std::string TransportName(const comm::Groups& groups) {
  return groups.stage == nullptr ? "none" : groups.stage->transport();
}

void Report(const Order& order, int64_t weights, int64_t kv, int64_t buffers,
            const std::string& transport) {
  order.hooks.report({.weight_bytes = weights, .kv_bytes = kv, .transport = transport});
  LogDebug(absl::StrCat("holds ", HumanBytes(weights), " of weights, ", HumanBytes(kv),
                        " of KV cache, ", HumanBytes(buffers), " of buffers; ", order.threads,
                        " threads; transport ", transport));
}

absl::StatusOr<std::unique_ptr<flow::Rank>> MakeCpu(const Order& order,
                                                    const weights::TensorSource& source) {
  const flow::LoadRequest& request = order.request;
  comm::Groups groups;
  if (request.plan.ranks() > 1) {
    PAMIR_ASSIGN_OR_RETURN(groups, Connect(order, TransportOf(request.transport), nullptr));
    AbortTogether(order, {groups.stage, groups.world});
  }
  const std::string transport = TransportName(groups);
  PAMIR_ASSIGN_OR_RETURN(weights::RankWeights weights,
                         weights::LoadRankWeights(request.model, request.plan, request.rank, source,
                                                  order.threads, ProgressOf(order)));
  model::OptRankSizes sizes;
  PAMIR_ASSIGN_OR_RETURN(std::unique_ptr<flow::Rank> rank,
                         model::MakeOptRank({.model = request.model,
                                             .plan = request.plan,
                                             .rank = request.rank,
                                             .threads = order.threads},
                                            std::move(weights), std::move(groups), &sizes));
  Report(order, sizes.weight_bytes, sizes.kv_bytes, sizes.buffer_bytes, transport);
  return rank;
}

absl::Status ConnectCuda(const Order& order, model::CudaRankParts* parts) {
  const flow::LoadRequest& request = order.request;
  const comm::Transport transport = TransportOf(request.transport);
  // NCCL that is asked for by name is used for a single rank too.
  if (request.plan.ranks() == 1 && transport != comm::Transport::kNccl) return absl::OkStatus();
  PAMIR_ASSIGN_OR_RETURN(parts->groups, Connect(order, transport, parts->device.get()));
  if (request.plan.pipeline() > 1) {
    const bool of_hosts = transport == comm::Transport::kShm || transport == comm::Transport::kGloo;
    PAMIR_ASSIGN_OR_RETURN(const comm::Groups host,
                           Connect(order, of_hosts ? transport : comm::Transport::kAuto, nullptr));
    parts->host_world = host.world;
  }
  AbortTogether(order, {parts->groups.stage, parts->groups.world, parts->host_world});
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<flow::Rank>> MakeCuda(const Order& order, const WorkerDevice& device,
                                                     const weights::TensorSource& source) {
  const flow::LoadRequest& request = order.request;
  model::CudaRankParts parts;
  PAMIR_ASSIGN_OR_RETURN(parts.device, device::CudaDevice::Open(device.index));
  PAMIR_RETURN_IF_ERROR(
      model::CheckCudaMemory(*parts.device, request.model, request.plan, request.rank));
  PAMIR_RETURN_IF_ERROR(ConnectCuda(order, &parts));
  const std::string transport = TransportName(parts.groups);
  PAMIR_ASSIGN_OR_RETURN(parts.weights, weights::LoadCudaWeights(
                                            request.model, request.plan, request.rank, source,
                                            order.flags.threads, ProgressOf(order), *parts.device));
  model::CudaRankSizes sizes;
  PAMIR_ASSIGN_OR_RETURN(std::unique_ptr<flow::Rank> rank,
                         model::MakeCudaRank({.model = request.model,
                                              .plan = request.plan,
                                              .rank = request.rank,
                                              .step_timeout = request.comm_timeout},
                                             std::move(parts), &sizes));
  Report(order, sizes.weight_bytes, sizes.kv_bytes, sizes.buffer_bytes, transport);
  return rank;
}

absl::StatusOr<std::unique_ptr<flow::Rank>> MakeRank(const WorkerFlags& flags,
                                                     const WorkerDevice& device,
                                                     const flow::LoadRequest& request,
                                                     const worker::RankHooks& hooks) {
  if (device.kind != request.plan.device) {
    return absl::FailedPreconditionError(absl::StrCat("the plan's ranks run on ",
                                                      spec::Name(request.plan.device),
                                                      ", this worker on ", NameOf(device)));
  }
  const Order order{flags, request, hooks, ThreadsFor(flags, request)};
  const std::string directory = flags.model.empty() ? request.model_directory : flags.model;
  // A model that cannot be opened is said before peers are kept waiting.
  PAMIR_ASSIGN_OR_RETURN(const auto source, OpenSource(directory, request));
  return device.kind == spec::DeviceKind::kCuda ? MakeCuda(order, device, *source)
                                                : MakeCpu(order, *source);
}

}  // namespace

worker::RankFactory MakeRankFactory(const WorkerFlags& flags, const WorkerDevice& device) {
  return [flags, device](const flow::LoadRequest& request, const worker::RankHooks& hooks) {
    return MakeRank(flags, device, request, hooks);
  };
}

}  // namespace pamir::cli
