#include "cli/rank_factory.h"

#include <algorithm>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "base/units.h"
#include "engine/comm/communicator.h"
#include "engine/model/opt_rank.h"
#include "engine/model/step_buffers.h"
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

absl::StatusOr<comm::Groups> Connect(const WorkerFlags& flags, const flow::LoadRequest& request,
                                     const worker::RankHooks& hooks) {
  const bool nccl = request.transport == flow::RankTransport::kNccl;  // works for one rank too
  if (request.plan.ranks() == 1 && !nccl) return comm::Groups{};
  comm::GroupOptions options{
      .world_rank = request.rank,
      .data_interface = flags.data_interface,
      .timeout = request.comm_timeout,
      .max_message_bytes = model::MaxMessageBytes(request.model, request.plan),
      .spin = Cores() >= request.ranks_on_host};
  for (int rank = 0; rank < request.plan.ranks(); ++rank) {
    options.stage_of_rank.push_back(spec::PlaceOfRank(request.plan, rank).stage);
  }
  options.transport = TransportOf(request.transport);
  return comm::ConnectGroups(options, hooks.exchange);
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
  const std::string directory = flags.model.empty() ? request.model_directory : flags.model;
  // A model that cannot be opened is said before peers are kept waiting.
  PAMIR_ASSIGN_OR_RETURN(const auto source, OpenSource(directory, request));
  PAMIR_ASSIGN_OR_RETURN(comm::Groups groups, Connect(flags, request, hooks));
  if (groups.world != nullptr) {
    hooks.on_abort([stage = groups.stage, world = groups.world](const absl::Status& why) {
      stage->Abort(why);
      world->Abort(why);
    });
  }
  const std::string transport = groups.stage == nullptr ? "none" : groups.stage->transport();
  const int threads = ThreadsFor(flags, request);
  PAMIR_ASSIGN_OR_RETURN(
      weights::RankWeights weights,
      weights::LoadRankWeights(request.model, request.plan, request.rank, *source, threads,
                               [&](weights::LoadProgress progress) {
                                 hooks.progress(progress.bytes_done, progress.bytes_total);
                               }));
  model::OptRankSizes sizes;
  PAMIR_ASSIGN_OR_RETURN(
      std::unique_ptr<flow::Rank> rank,
      model::MakeOptRank(
          {.model = request.model, .plan = request.plan, .rank = request.rank, .threads = threads},
          std::move(weights), std::move(groups), &sizes));
  hooks.report(
      {.weight_bytes = sizes.weight_bytes, .kv_bytes = sizes.kv_bytes, .transport = transport});
  LogDebug(absl::StrCat("holds ", HumanBytes(sizes.weight_bytes), " of weights, ",
                        HumanBytes(sizes.kv_bytes), " of KV cache, ",
                        HumanBytes(sizes.buffer_bytes), " of buffers; ", threads,
                        " threads; transport ", transport));
  return rank;
}

}  // namespace

worker::RankFactory MakeRankFactory(const WorkerFlags& flags, const WorkerDevice& device) {
  return [flags, device](const flow::LoadRequest& request, const worker::RankHooks& hooks) {
    return MakeRank(flags, device, request, hooks);
  };
}

}  // namespace pamir::cli
