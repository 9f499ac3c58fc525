#include "unit/gateway/raw_call.h"

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>

#include "absl/synchronization/notification.h"

namespace pamir::gateway {

RawReply RawCall(const std::string& target, const std::string& method, const std::string& request) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  grpc::GenericStub stub(
      grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments));
  grpc::ClientContext context;
  const grpc::Slice slice(request);
  const grpc::ByteBuffer sent(&slice, 1);
  grpc::ByteBuffer received;
  RawReply reply;
  absl::Notification done;
  stub.UnaryCall(&context, method, grpc::StubOptions(), &sent, &received, [&](grpc::Status status) {
    reply.status = std::move(status);
    done.Notify();
  });
  done.WaitForNotification();
  grpc::Slice all;
  if (reply.status.ok() && received.DumpToSingleSlice(&all).ok()) {
    reply.bytes.assign(reinterpret_cast<const char*>(all.begin()), all.size());
  }
  return reply;
}

std::string Health(const std::string& target, const std::string& service) {
  // HealthCheckRequest: string service = 1. HealthCheckResponse: enum status = 1.
  const std::string request = std::string("\x0a") + static_cast<char>(service.size()) + service;
  const RawReply reply = RawCall(target, "/grpc.health.v1.Health/Check", request);
  if (!reply.status.ok()) return reply.status.error_message();
  if (reply.bytes == "\x08\x01") return "SERVING";
  return reply.bytes == "\x08\x02" ? "NOT_SERVING" : "odd bytes";
}

}  // namespace pamir::gateway
