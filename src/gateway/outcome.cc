#include "gateway/outcome.h"

namespace pamir::gateway {
namespace {

ErrorCode CodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return ErrorCode::kInvalidRequest;
    case absl::StatusCode::kResourceExhausted:
      return ErrorCode::kOverloaded;
    case absl::StatusCode::kUnavailable:
      return ErrorCode::kNotReady;
    case absl::StatusCode::kCancelled:
      return ErrorCode::kCancelled;
    case absl::StatusCode::kDeadlineExceeded:
      return ErrorCode::kDeadlineExceeded;
    default:
      return ErrorCode::kInternal;
  }
}

}  // namespace

ApiError FromStatus(const absl::Status& status, const std::string& field) {
  const ErrorCode code = CodeOf(status);
  return {code, std::string(status.message()),
          code == ErrorCode::kInvalidRequest ? field : std::string()};
}

ApiError TextQueueFull() {
  return {ErrorCode::kOverloaded, "too many texts wait to be tokenized; try again later", ""};
}

}  // namespace pamir::gateway
