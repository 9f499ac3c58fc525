// What the control plane accepts. A message outside is refused, and its link with it.
#ifndef PAMIR_CLUSTER_WIRE_LIMITS_H_
#define PAMIR_CLUSTER_WIRE_LIMITS_H_

#include <cstddef>
#include <cstdint>

namespace pamir::wire {

// Grows whenever a message changes its meaning.
inline constexpr uint32_t kProtocolVersion = 1;

inline constexpr size_t kMaxFrameBytes = 64u << 20;    // one message, serialised
inline constexpr size_t kMaxNameBytes = 512;           // host, device, build id, token, transport
inline constexpr size_t kMaxPathBytes = 4096;          // a model's directory
inline constexpr size_t kMaxReasonBytes = 4096;        // longer reasons are cut when sent
inline constexpr size_t kMaxExchangeBytes = 1u << 20;  // one rank's blob of an exchange
inline constexpr int kMaxExchangeRounds = 64;          // of one epoch
inline constexpr int kMaxRanks = 1024;
inline constexpr int kMaxRows = 1 << 16;  // rows, admissions, copies, ... of one step
inline constexpr int kMaxIdsPerAdmission = 1 << 20;
inline constexpr int kMaxBlocksPerAdmission = 1 << 20;

}  // namespace pamir::wire

#endif  // PAMIR_CLUSTER_WIRE_LIMITS_H_
