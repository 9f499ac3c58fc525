// pamir.v1.Cluster over gRPC.
#ifndef PAMIR_GATEWAY_GRPC_CLUSTER_H_
#define PAMIR_GATEWAY_GRPC_CLUSTER_H_

#include <grpcpp/impl/service_type.h>

#include <memory>

#include "core/flow/ports.h"
#include "gateway/gate.h"

namespace pamir::gateway {

// Engine and gate outlive the service. Answers while draining too: whoever drains wants to watch.
std::unique_ptr<grpc::Service> NewClusterService(const flow::Engine* engine, const Gate* gate);

}  // namespace pamir::gateway

#endif  // PAMIR_GATEWAY_GRPC_CLUSTER_H_
