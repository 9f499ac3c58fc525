// pamir.v1.Generation over gRPC's callback API. Messages arrive as bytes and are parsed here, so
// that a malformed one gets an error of the catalogue.
#ifndef PAMIR_GATEWAY_GRPC_GENERATION_H_
#define PAMIR_GATEWAY_GRPC_GENERATION_H_

#include <grpcpp/impl/service_type.h>

#include <memory>

#include "gateway/dispatcher.h"

namespace pamir::gateway {

// The dispatcher outlives the service.
std::unique_ptr<grpc::Service> NewGenerationService(Dispatcher* dispatcher);

}  // namespace pamir::gateway

#endif  // PAMIR_GATEWAY_GRPC_GENERATION_H_
