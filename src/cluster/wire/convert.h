// Messages <-> bytes: the only place that knows both the plain structs and protobuf. Pure and
// thread-safe. What is parsed is checked: counts and positions that are negative or absurd, columns
// of different lengths, unknown enum values and oversize lists are INVALID_ARGUMENT with the
// field's name, never a crash. That a plan fits the model is checked by the rank, not here.
#ifndef PAMIR_CLUSTER_WIRE_CONVERT_H_
#define PAMIR_CLUSTER_WIRE_CONVERT_H_

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "cluster/wire/messages.h"

namespace pamir::wire {

// One serialised message. Shared, so that a plan for N ranks is serialised once.
using Frame = std::shared_ptr<const std::string>;

Frame Encode(const FromWorker& message);
Frame Encode(const ToWorker& message);

absl::StatusOr<FromWorker> DecodeFromWorker(std::string_view bytes);
absl::StatusOr<ToWorker> DecodeToWorker(std::string_view bytes);

}  // namespace pamir::wire

#endif  // PAMIR_CLUSTER_WIRE_CONVERT_H_
