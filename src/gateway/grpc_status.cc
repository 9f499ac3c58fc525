#include "gateway/grpc_status.h"

#include "absl/strings/str_cat.h"

namespace pamir::gateway {
namespace {

grpc::StatusCode CodeOf(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidRequest:
      return grpc::StatusCode::INVALID_ARGUMENT;
    case ErrorCode::kOverloaded:
    case ErrorCode::kSlowReader:
      return grpc::StatusCode::RESOURCE_EXHAUSTED;
    case ErrorCode::kNotReady:
    case ErrorCode::kDraining:
      return grpc::StatusCode::UNAVAILABLE;
    case ErrorCode::kCancelled:
      return grpc::StatusCode::CANCELLED;
    case ErrorCode::kDeadlineExceeded:
      return grpc::StatusCode::DEADLINE_EXCEEDED;
    case ErrorCode::kInternal:
      return grpc::StatusCode::INTERNAL;
  }
  return grpc::StatusCode::INTERNAL;
}

}  // namespace

grpc::Status ToGrpcStatus(const ApiError& error) {
  return grpc::Status(CodeOf(error.code), FullMessage(error));
}

ApiError UnparsableMessage(const std::string& name) {
  return {ErrorCode::kInvalidRequest,
          absl::StrCat("the bytes are no ", name, "; send one (its strings must be UTF-8)"), ""};
}

}  // namespace pamir::gateway
