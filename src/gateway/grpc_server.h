// The gRPC door: Generation, Cluster, grpc.health.v1 and reflection on one address.
#ifndef PAMIR_GATEWAY_GRPC_SERVER_H_
#define PAMIR_GATEWAY_GRPC_SERVER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "core/flow/ports.h"
#include "gateway/dispatcher.h"

namespace pamir::gateway {

struct GrpcServerOptions {
  std::string host = "127.0.0.1";  // name or address, IPv6 without brackets
  int port = 50051;                // 0: any free one, see port()
  DispatcherOptions dispatcher;
  // How often the engine is asked whether it is ready, for the health service.
  absl::Duration health_interval = absl::Milliseconds(100);
};

// Thread-safe, but for Drain and the destructor: one thread calls these. No TLS: for loopback and
// private networks.
class GrpcServer {
 public:
  // Takes calls when this returns. Engine and text outlive the server. Errors: INVALID_ARGUMENT for
  // an address that is none of this host's, ALREADY_EXISTS for a port in use.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(const GrpcServerOptions& options,
                                                           flow::Engine* engine,
                                                           const flow::Text* text);
  // Drains without waiting.
  ~GrpcServer();

  int port() const;

  // Health says NOT_SERVING, new calls are refused as "draining", running ones may finish until
  // `deadline` and are cancelled then. Closes the port. A second call does nothing.
  void Drain(absl::Time deadline);

 private:
  struct Impl;
  explicit GrpcServer(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace pamir::gateway

#endif  // PAMIR_GATEWAY_GRPC_SERVER_H_
