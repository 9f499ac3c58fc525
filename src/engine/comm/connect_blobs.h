// What the ranks tell each other while a group connects, as bytes. Peers' bytes are checked:
// whatever does not parse is INVALID_ARGUMENT.
#ifndef PAMIR_ENGINE_COMM_CONNECT_BLOBS_H_
#define PAMIR_ENGINE_COMM_CONNECT_BLOBS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/comm/communicator.h"

namespace pamir::comm {

inline constexpr size_t kMaxIdentityBytes = 512;
inline constexpr size_t kMaxAddressBytes = 192;  // Gloo's own limit
inline constexpr size_t kMaxReasonBytes = 1024;
inline constexpr size_t kMaxNcclIdBytes = 256;
inline constexpr int kMaxWorldRanks = 4096;

// First exchange: who I am and what I was asked for.
struct Hello {
  int pid = 0;
  std::string host;      // HostIdentity()
  std::string loopback;  // LoopbackIdentity()
  bool has_interface = false;
  std::string machine;        // MachineIdentity()
  std::string device_bus_id;  // of the rank's GPU; empty on a CPU
  int nccl_version = 0;       // 0: not to be had, and why
  std::string nccl_problem;
  // Must be the same on all ranks, but for world_rank.
  int world_rank = 0;
  Transport transport = Transport::kAuto;
  int64_t max_message_bytes = 0;
  std::vector<int> stage_of_rank;
};

// Second exchange, of one group: where to meet.
struct Meeting {
  int segment_fd = -1;                 // from the first rank of a shared memory group
  std::vector<std::string> addresses;  // [size of the group] Gloo's, one a pair; own one empty
  std::string nccl_id;                 // from the first rank of an NCCL group
};
struct Offer {
  Meeting stage;
  Meeting world;
};

std::string Encode(const Hello& hello);
std::string Encode(const Offer& offer);
absl::StatusOr<Hello> DecodeHello(const std::string& bytes);
absl::StatusOr<Offer> DecodeOffer(const std::string& bytes);

// Each exchanged string is an envelope: a payload, or the error for which this rank gives up. So
// all ranks make the same exchanges, and when one cannot go on, all learn it at once.
std::string EncodeEnvelope(const absl::StatusOr<std::string>& payload);
absl::StatusOr<std::string> DecodeEnvelope(const std::string& bytes);

}  // namespace pamir::comm

#endif  // PAMIR_ENGINE_COMM_CONNECT_BLOBS_H_
