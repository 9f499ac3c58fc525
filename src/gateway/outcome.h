// What a step of a door gives: the thing, or an error of the catalogue (include/pamir/errors.h).
#ifndef PAMIR_GATEWAY_OUTCOME_H_
#define PAMIR_GATEWAY_OUTCOME_H_

#include <variant>

#include "absl/status/status.h"
#include "pamir/errors.h"

namespace pamir::gateway {

template <typename T>
using Outcome = std::variant<T, ApiError>;

template <typename T>
const ApiError* ErrorOf(const Outcome<T>& outcome) {
  return std::get_if<ApiError>(&outcome);
}

// An error of the engine or of the text room in the catalogue's terms. `field` is to blame where
// the status says INVALID_ARGUMENT or OUT_OF_RANGE.
ApiError FromStatus(const absl::Status& status, const std::string& field);

// The text pool takes no more long jobs.
ApiError TextQueueFull();

}  // namespace pamir::gateway

#endif  // PAMIR_GATEWAY_OUTCOME_H_
