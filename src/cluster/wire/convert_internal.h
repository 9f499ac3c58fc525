// Pieces of the converter, one file each. Seen by convert*.cc only.
#ifndef PAMIR_CLUSTER_WIRE_CONVERT_INTERNAL_H_
#define PAMIR_CLUSTER_WIRE_CONVERT_INTERNAL_H_

#include <cstdint>
#include <limits>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "cluster/wire/limits.h"
#include "cluster/wire/messages.h"
#include "pamir/internal/v1/plan.pb.h"
#include "pamir/internal/v1/step.pb.h"

namespace pamir::wire {

namespace pb = ::pamir::internal::v1;

// convert_step.cc
void ToProto(const flow::StepPlan& plan, pb::StepPlan* out);
void ToProto(const flow::StepResult& result, pb::StepResult* out);
absl::Status FromProto(const pb::StepPlan& in, flow::StepPlan* plan);
absl::Status FromProto(const pb::StepResult& in, flow::StepResult* result);

// convert_plan.cc
void ToProto(const flow::LoadRequest& request, pb::LoadRequest* out);
absl::Status FromProto(const pb::LoadRequest& in, flow::LoadRequest* request);

inline absl::Status Malformed(const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat("malformed message: ", what));
}

// `value` must lie in [low, high].
inline absl::Status CheckRange(const char* field, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return Malformed(absl::StrCat(field, " is ", value, "; ", low, " .. ", high, " is allowed"));
}

inline absl::Status CheckSize(const char* field, size_t size, size_t limit) {
  if (size <= limit) return absl::OkStatus();
  return Malformed(absl::StrCat(field, " has ", size, " entries; at most ", limit, " are allowed"));
}

}  // namespace pamir::wire

#endif  // PAMIR_CLUSTER_WIRE_CONVERT_INTERNAL_H_
