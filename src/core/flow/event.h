// Hop 3: everything that can happen to the scheduler. Made by the coordinator, applied in order.
#ifndef PAMIR_CORE_FLOW_EVENT_H_
#define PAMIR_CORE_FLOW_EVENT_H_

#include <variant>

#include "absl/time/time.h"
#include "base/ids.h"
#include "core/flow/step_result.h"
#include "core/flow/token_request.h"

namespace pamir::flow {

struct Arrive {
  TokenRequest request;
};

struct Cancel {
  SeqId id;
};

// A stop string was seen in the text of tokens 0 .. index of `choice`.
struct Stop {
  SeqId id;
  int32_t choice = 0;
  int32_t index = 0;
};

struct StepDone {
  StepResult result;
};

struct WorkerLost {
  int32_t rank = 0;
  std::string reason;
};

// All ranks of `epoch` are loaded and connected.
struct WorkerReady {
  Epoch epoch;
};

struct Tick {
  absl::Time now;
};

using Event = std::variant<Arrive, Cancel, Stop, StepDone, WorkerLost, WorkerReady, Tick>;

}  // namespace pamir::flow

#endif  // PAMIR_CORE_FLOW_EVENT_H_
