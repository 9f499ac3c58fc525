// One request and one response of any gRPC method, as bytes: for services whose protos we have not,
// and for messages that no stub would send.
#ifndef PAMIR_TESTS_UNIT_GATEWAY_RAW_CALL_H_
#define PAMIR_TESTS_UNIT_GATEWAY_RAW_CALL_H_

#include <grpcpp/support/status.h>

#include <string>

namespace pamir::gateway {

struct RawReply {
  grpc::Status status;
  std::string bytes;
};

RawReply RawCall(const std::string& target, const std::string& method, const std::string& request);

// What grpc.health.v1 says of a service: "SERVING", "NOT_SERVING", or the error's message.
std::string Health(const std::string& target, const std::string& service);

}  // namespace pamir::gateway

#endif  // PAMIR_TESTS_UNIT_GATEWAY_RAW_CALL_H_
