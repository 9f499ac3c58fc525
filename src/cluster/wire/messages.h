// All that a coordinator and a worker say to each other, as plain data. A worker's first message is
// Join; the rest follows in the order Welcome, Load, exchanges, Ready, steps.
#ifndef PAMIR_CLUSTER_WIRE_MESSAGES_H_
#define PAMIR_CLUSTER_WIRE_MESSAGES_H_

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "base/ids.h"
#include "cluster/wire/limits.h"
#include "core/flow/load_request.h"
#include "core/flow/step_plan.h"
#include "core/flow/step_result.h"

namespace pamir::wire {

// One worker's stream, unique in a coordinator's life.
using LinkId = StrongId<struct LinkTag, uint64_t>;

// ---- from a worker ----

struct Join {
  uint32_t protocol_version = kProtocolVersion;
  std::string build_id;   // both sides must be the same build
  std::string host_name;  // ranks of one host get adjacent numbers
  std::string device;     // "cpu", "cuda:0 NVIDIA H100 PCIe (0000:4f:00.0)"
  int64_t pid = 0;
  int32_t cores = 0;  // that the process may use
  std::string token;  // the cluster's shared secret; empty where there is none
  int64_t memory_bytes = 0;
  friend bool operator==(const Join&, const Join&) = default;
};

// This rank's part of exchange `round` (0, 1, ... within an epoch).
struct ExchangeBlob {
  Epoch epoch;
  uint32_t round = 0;
  std::string blob;
  friend bool operator==(const ExchangeBlob&, const ExchangeBlob&) = default;
};

struct LoadProgress {
  Epoch epoch;
  int64_t done = 0;
  int64_t total = 0;  // bytes
  friend bool operator==(const LoadProgress&, const LoadProgress&) = default;
};

// What a loaded rank holds, for status.
struct Ready {
  Epoch epoch;
  int64_t weight_bytes = 0;
  int64_t kv_bytes = 0;
  std::string transport;
  friend bool operator==(const Ready&, const Ready&) = default;
};

struct Heartbeat {
  uint64_t beats = 0;  // sent so far
  uint64_t steps = 0;  // done so far
  friend bool operator==(const Heartbeat&, const Heartbeat&) = default;
};

// The rank is dead and its process ends.
struct Failed {
  Epoch epoch;
  absl::Status status;
  friend bool operator==(const Failed&, const Failed&) = default;
};

// No step is running and none will be: the worker leaves.
struct Drained {
  friend bool operator==(const Drained&, const Drained&) = default;
};

using FromWorker = std::variant<Join, ExchangeBlob, LoadProgress, Ready, flow::StepResult,
                                Heartbeat, Failed, Drained>;

// ---- from the coordinator ----

struct Welcome {
  Epoch epoch;
  int32_t rank = 0;
  int32_t world_size = 0;
  friend bool operator==(const Welcome&, const Welcome&) = default;
};

struct Load {
  flow::LoadRequest request;
  friend bool operator==(const Load&, const Load&) = default;
};

// The blobs of all ranks in rank order, once all have come.
struct Exchanged {
  Epoch epoch;
  uint32_t round = 0;
  std::vector<std::string> blobs;
  friend bool operator==(const Exchanged&, const Exchanged&) = default;
};

// Whatever the rank does in `epoch` is void; waiting for peers ends now.
struct Abort {
  Epoch epoch;
  std::string reason;
  friend bool operator==(const Abort&, const Abort&) = default;
};

// Answer Drained once the steps that came before are done.
struct Drain {
  friend bool operator==(const Drain&, const Drain&) = default;
};

// The process ends: with success where `clean`, else with `reason`.
struct Shutdown {
  bool clean = true;
  std::string reason;
  friend bool operator==(const Shutdown&, const Shutdown&) = default;
};

using ToWorker = std::variant<Welcome, Load, Exchanged, flow::StepPlan, Abort, Drain, Shutdown>;

// "Join", "StepPlan", ..., for logs and errors.
const char* NameOf(const FromWorker& message);
const char* NameOf(const ToWorker& message);

}  // namespace pamir::wire

#endif  // PAMIR_CLUSTER_WIRE_MESSAGES_H_
