#ifndef PAMIR_GATEWAY_GRPC_LOGGING_H_
#define PAMIR_GATEWAY_GRPC_LOGGING_H_

namespace pamir::gateway {

// Sends what gRPC and protobuf would write to standard error through base/log.h. Process-wide;
// before the first server or channel.
void RouteLibraryLogs();

}  // namespace pamir::gateway

#endif  // PAMIR_GATEWAY_GRPC_LOGGING_H_
