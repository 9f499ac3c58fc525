// ConnectGroups: three exchanges, made by all ranks in the same order whatever happens. Who I am;
// where to meet; whether it worked. Each carries either a payload or the error for which a rank
// gives up, so that all ranks fail together and at once.
#include "engine/comm/connect.h"

#include <unistd.h>

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "engine/comm/connect_blobs.h"
#include "engine/comm/connect_group.h"
#include "engine/comm/host_identity.h"
#include "engine/device/cuda_device.h"

namespace pamir::comm {
namespace {

absl::Status CheckOptions(const GroupOptions& options) {
  const size_t ranks = options.stage_of_rank.size();
  if (ranks == 0 || ranks > kMaxWorldRanks) {
    return absl::InvalidArgumentError(
        absl::StrCat("stage_of_rank names ", ranks, " ranks; 1 to ", kMaxWorldRanks, " work"));
  }
  if (options.world_rank < 0 || options.world_rank >= static_cast<int>(ranks)) {
    return absl::InvalidArgumentError(
        absl::StrCat("rank ", options.world_rank, " of ", ranks, ": ranks count from 0"));
  }
  if (options.timeout <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError("the communicator's timeout must be more than 0");
  }
  if (ranks > 1 && options.max_message_bytes <= 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "max_message_bytes is ", options.max_message_bytes, "; it must be at least 1"));
  }
  return absl::OkStatus();
}

// All ranks' payloads, or the first rank's error; the same on every rank.
absl::StatusOr<std::vector<std::string>> ExchangeEnvelopes(
    const ExchangeFn& exchange, size_t ranks, const absl::StatusOr<std::string>& mine) {
  PAMIR_ASSIGN_OR_RETURN(std::vector<std::string> all, exchange(EncodeEnvelope(mine)));
  if (!mine.ok()) return mine.status();
  if (all.size() != ranks) {
    return absl::InvalidArgumentError(
        absl::StrCat("the exchange brought ", all.size(), " strings for ", ranks, " ranks"));
  }
  for (size_t r = 0; r < ranks; ++r) {
    absl::StatusOr<std::string> payload = DecodeEnvelope(all[r]);
    if (!payload.ok()) {
      return absl::Status(payload.status().code(),
                          absl::StrCat("rank ", r, ": ", std::string(payload.status().message())));
    }
    all[r] = *std::move(payload);
  }
  return all;
}

using NcclOrWhy = absl::StatusOr<const NcclApi*>;

void DescribeGpu(const GroupOptions& options, const NcclOrWhy& nccl, Hello* hello) {
  if (options.cuda == nullptr) return;
  hello->device_bus_id =
      options.device_bus_id.empty() ? options.cuda->facts().bus_id : options.device_bus_id;
  if (nccl.ok()) {
    hello->nccl_version = (*nccl)->version;
  } else {
    hello->nccl_problem = std::string(nccl.status().message());
  }
}

absl::StatusOr<std::string> Greeting(const GroupOptions& options, const NcclOrWhy& nccl) {
  PAMIR_RETURN_IF_ERROR(CheckOptions(options));
  Hello hello;
  hello.pid = getpid();
  hello.host = HostIdentity();
  hello.loopback = LoopbackIdentity();
  hello.has_interface = !options.data_interface.empty();
  hello.machine = MachineIdentity();
  DescribeGpu(options, nccl, &hello);
  hello.world_rank = options.world_rank;
  hello.transport = options.transport;
  hello.max_message_bytes = options.max_message_bytes;
  hello.stage_of_rank = options.stage_of_rank;
  return Encode(hello);
}

absl::StatusOr<std::vector<Hello>> DecodeHellos(const GroupOptions& options,
                                                const std::vector<std::string>& payloads) {
  std::vector<Hello> hellos;
  for (size_t r = 0; r < payloads.size(); ++r) {
    PAMIR_ASSIGN_OR_RETURN(Hello hello, DecodeHello(payloads[r]));
    const bool same = hello.stage_of_rank == options.stage_of_rank &&
                      hello.transport == options.transport &&
                      hello.max_message_bytes == options.max_message_bytes;
    if (hello.world_rank != static_cast<int>(r) || !same) {
      return absl::InvalidArgumentError(absl::StrCat(
          "rank ", r, " was started with another rank number, stages, transport or message limit"));
    }
    hellos.push_back(std::move(hello));
  }
  return hellos;
}

std::vector<int> RanksOfStage(const GroupOptions& options) {
  const std::vector<int>& stages = options.stage_of_rank;
  std::vector<int> members;
  for (size_t r = 0; r < stages.size(); ++r) {
    if (stages[r] == stages[static_cast<size_t>(options.world_rank)]) {
      members.push_back(static_cast<int>(r));
    }
  }
  return members;
}

std::vector<int> AllRanks(const GroupOptions& options) {
  std::vector<int> members(options.stage_of_rank.size());
  for (size_t r = 0; r < members.size(); ++r) members[r] = static_cast<int>(r);
  return members;
}

// Both groups through the exchanges two and three.
class Connection {
 public:
  Connection(const GroupOptions& options, const std::vector<Hello>& hellos, const NcclApi* nccl)
      : stage_(options, RanksOfStage(options), hellos, nccl),
        world_(options, AllRanks(options), hellos, nccl),
        one_stage_(RanksOfStage(options) == AllRanks(options)) {}

  absl::StatusOr<std::string> Offer(const std::string& data_interface) {
    GlooDevice device;
    PAMIR_RETURN_IF_ERROR(stage_.Choose());
    PAMIR_RETURN_IF_ERROR(world_.Choose());
    if (stage_.kind() == Transport::kGloo || world_.kind() == Transport::kGloo) {
      PAMIR_ASSIGN_OR_RETURN(device, OpenGlooDevice(data_interface));
    }
    comm::Offer offer;
    PAMIR_ASSIGN_OR_RETURN(offer.stage, stage_.Open(device));
    if (!Shared()) {
      PAMIR_ASSIGN_OR_RETURN(offer.world, world_.Open(device));
    }
    return Encode(offer);
  }

  absl::StatusOr<std::string> Join(const std::vector<std::string>& payloads) {
    std::vector<Meeting> stage, world;
    for (const std::string& payload : payloads) {
      PAMIR_ASSIGN_OR_RETURN(comm::Offer offer, DecodeOffer(payload));
      stage.push_back(std::move(offer.stage));
      world.push_back(std::move(offer.world));
    }
    PAMIR_RETURN_IF_ERROR(stage_.Join(stage));
    if (!Shared()) PAMIR_RETURN_IF_ERROR(world_.Join(world));
    return std::string();
  }

  absl::StatusOr<Groups> Start() {
    Groups groups;
    PAMIR_ASSIGN_OR_RETURN(groups.stage, stage_.Start());
    if (Shared()) {
      groups.world = groups.stage;
    } else {
      PAMIR_ASSIGN_OR_RETURN(groups.world, world_.Start());
    }
    return groups;
  }

 private:
  // NCCL takes hundreds of megabytes of the device for each communicator: one serves both groups
  // where they are the same ranks.
  bool Shared() const { return one_stage_ && stage_.kind() == Transport::kNccl; }

  GroupConnection stage_;
  GroupConnection world_;
  const bool one_stage_;
};

}  // namespace

absl::StatusOr<Groups> ConnectGroups(const GroupOptions& options, const ExchangeFn& exchange) {
  const bool wanted = options.cuda != nullptr && (options.transport == Transport::kAuto ||
                                                  options.transport == Transport::kNccl);
  return ConnectGroupsWith(
      wanted ? OpenNccl(options.data_interface) : absl::NotFoundError("NCCL is not wanted"),
      options, exchange);
}

absl::StatusOr<Groups> ConnectGroupsWith(const NcclOrWhy& nccl, const GroupOptions& options,
                                         const ExchangeFn& exchange) {
  const size_t ranks = options.stage_of_rank.size();
  absl::StatusOr<std::string> mine = Greeting(options, nccl);
  PAMIR_ASSIGN_OR_RETURN(auto hellos_bytes, ExchangeEnvelopes(exchange, ranks, mine));
  // From here on an error of ours is exchanged before it is returned.
  absl::StatusOr<std::vector<Hello>> hellos = DecodeHellos(options, hellos_bytes);
  std::optional<Connection> connection;
  if (hellos.ok()) connection.emplace(options, *hellos, nccl.ok() ? *nccl : nullptr);
  mine = hellos.ok() ? connection->Offer(options.data_interface) : hellos.status();
  PAMIR_ASSIGN_OR_RETURN(auto offers, ExchangeEnvelopes(exchange, ranks, mine));
  PAMIR_RETURN_IF_ERROR(ExchangeEnvelopes(exchange, ranks, connection->Join(offers)).status());
  return connection->Start();
}

}  // namespace pamir::comm
