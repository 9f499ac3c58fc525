#include "gateway/grpc_cluster.h"

#include "gateway/grpc_convert.h"
#include "pamir/v1/cluster.grpc.pb.h"

namespace pamir::gateway {
namespace {

class ClusterService final : public v1::Cluster::CallbackService {
 public:
  ClusterService(const flow::Engine* engine, const Gate* gate) : engine_(engine), gate_(gate) {}

  grpc::ServerUnaryReactor* GetStatus(grpc::CallbackServerContext* context,
                                      const v1::GetStatusRequest*,
                                      v1::GetStatusResponse* response) override {
    *response = ToProto(engine_->Stats());
    if (gate_->closed()) response->set_draining(true);
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

 private:
  const flow::Engine* const engine_;
  const Gate* const gate_;
};

}  // namespace

std::unique_ptr<grpc::Service> NewClusterService(const flow::Engine* engine, const Gate* gate) {
  return std::make_unique<ClusterService>(engine, gate);
}

}  // namespace pamir::gateway
