#include "cluster/wire/messages.h"

namespace pamir::wire {

const char* NameOf(const FromWorker& message) {
  static constexpr const char* kNames[] = {"Join",       "ExchangeBlob", "LoadProgress", "Ready",
                                           "StepResult", "Heartbeat",    "Failed",       "Drained"};
  static_assert(std::size(kNames) == std::variant_size_v<FromWorker>);
  return kNames[message.index()];
}

const char* NameOf(const ToWorker& message) {
  static constexpr const char* kNames[] = {"Welcome", "Load",  "Exchanged", "StepPlan",
                                           "Abort",   "Drain", "Shutdown"};
  static_assert(std::size(kNames) == std::variant_size_v<ToWorker>);
  return kNames[message.index()];
}

}  // namespace pamir::wire
