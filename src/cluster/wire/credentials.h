// gRPC credentials from PEM files. Internal to wire.
#ifndef PAMIR_CLUSTER_WIRE_CREDENTIALS_H_
#define PAMIR_CLUSTER_WIRE_CREDENTIALS_H_

#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>

#include <memory>

#include "absl/status/statusor.h"
#include "cluster/wire/address.h"

namespace pamir::wire {

// Plain where `tls` is not given. The server demands a client certificate that `ca` signed.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(const TlsFiles& tls);
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeClientCredentials(
    const TlsFiles& tls);

}  // namespace pamir::wire

#endif  // PAMIR_CLUSTER_WIRE_CREDENTIALS_H_
