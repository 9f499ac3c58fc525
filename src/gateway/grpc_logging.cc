#include "gateway/grpc_logging.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "base/log.h"

namespace pamir::gateway {
namespace {

void LogGrpc(gpr_log_func_args* args) {
  const std::string line = absl::StrCat("gRPC: ", EscapeForLog(args->message));
  if (args->severity == GPR_LOG_SEVERITY_ERROR) {
    LogWarning(line);  // to the server none of these is fatal
  } else {
    LogDebug(line);
  }
}

// Any client can cause these with bytes that are no message; it gets the error, not the log.
void LogProtobuf(google::protobuf::LogLevel, const char*, int, const std::string& message) {
  LogDebug(absl::StrCat("protobuf: ", EscapeForLog(message)));
}

}  // namespace

void RouteLibraryLogs() {
  gpr_set_log_function(&LogGrpc);
  google::protobuf::SetLogHandler(&LogProtobuf);
}

}  // namespace pamir::gateway
