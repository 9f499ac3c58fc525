#ifndef PAMIR_GATEWAY_GRPC_STATUS_H_
#define PAMIR_GATEWAY_GRPC_STATUS_H_

#include <grpcpp/support/status.h>

#include <string>

#include "gateway/outcome.h"

namespace pamir::gateway {

// "field: what is wrong; what would be right", under the catalogue's gRPC code.
grpc::Status ToGrpcStatus(const ApiError& error);

// A message that cannot be parsed. gRPC itself would answer such a one with UNIMPLEMENTED.
ApiError UnparsableMessage(const std::string& name);

}  // namespace pamir::gateway

#endif  // PAMIR_GATEWAY_GRPC_STATUS_H_
