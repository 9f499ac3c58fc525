// The catalogue of errors that a client can see: the same through every door. docs/API.md explains
// each. Standard library only.
#ifndef PAMIR_ERRORS_H_
#define PAMIR_ERRORS_H_

#include <array>
#include <cstdint>
#include <string>

namespace pamir {

enum class ErrorCode : uint8_t {
  kInvalidRequest,    // a field is wrong: sending it again will not help
  kOverloaded,        // a queue is full: try again later
  kSlowReader,        // the client did not read its stream fast enough
  kNotReady,          // the workers are not there yet, or one was lost
  kDraining,          // the server is ending
  kCancelled,         // by the client
  kDeadlineExceeded,  // the client's deadline passed
  kInternal,          // a defect of the server
};

struct ErrorInfo {
  ErrorCode code;
  const char* name;       // stable, for programs
  const char* grpc_code;  // canonical name of the gRPC status code
  int http_status;
};

inline constexpr std::array<ErrorInfo, 8> kErrorCatalogue = {{
    {ErrorCode::kInvalidRequest, "invalid_request", "INVALID_ARGUMENT", 400},
    {ErrorCode::kOverloaded, "overloaded", "RESOURCE_EXHAUSTED", 429},
    {ErrorCode::kSlowReader, "slow_reader", "RESOURCE_EXHAUSTED", 429},
    {ErrorCode::kNotReady, "not_ready", "UNAVAILABLE", 503},
    {ErrorCode::kDraining, "draining", "UNAVAILABLE", 503},
    {ErrorCode::kCancelled, "cancelled", "CANCELLED", 499},
    {ErrorCode::kDeadlineExceeded, "deadline_exceeded", "DEADLINE_EXCEEDED", 504},
    {ErrorCode::kInternal, "internal", "INTERNAL", 500},
}};

constexpr const ErrorInfo& Describe(ErrorCode code) {
  return kErrorCatalogue[static_cast<size_t>(code)];
}

// One error as a door reports it.
struct ApiError {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;  // "what is wrong; what would be right", without the field's name
  std::string field;    // the request's field, as the API spells it; empty where none is to blame
};

// "temperature: is -1; give a number from 0 to 100".
inline std::string FullMessage(const ApiError& error) {
  return error.field.empty() ? error.message : error.field + ": " + error.message;
}

}  // namespace pamir

#endif  // PAMIR_ERRORS_H_
