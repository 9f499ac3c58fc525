#include "gateway/grpc_server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <mutex>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "base/units.h"
#include "gateway/grpc_cluster.h"
#include "gateway/grpc_generation.h"
#include "gateway/grpc_logging.h"
#include "gateway/listen_address.h"

namespace pamir::gateway {
namespace {

constexpr int kSecondMs = 1000;
// What all connections together may buffer.
constexpr size_t kMaxConnectionBytes = 1 * kGiB;
// Calls that outlive the deadline of a drain are cancelled; this is for their last messages.
constexpr absl::Duration kShutdownGrace = absl::Milliseconds(500);

// gRPC keeps these as process-wide settings, to be made once before the first server.
void InstallPlugins() {
  static std::once_flag once;
  std::call_once(once, [] {
    RouteLibraryLogs();
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  });
}

void SetLimits(const GrpcServerOptions& options, grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(kMaxRequestMessageBytes);
  builder.SetMaxSendMessageSize(kMaxRequestMessageBytes);
  builder.SetResourceQuota(grpc::ResourceQuota("pamir").Resize(kMaxConnectionBytes));
  // Without this a second server on the port would start and take half of the calls.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.dispatcher.max_active_calls);
  // A vanished client is noticed after 80 s, and its requests end.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 60 * kSecondMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20 * kSecondMs);
  // Clients may ping every 10 s; those that keep on faster are disconnected.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10 * kSecondMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
}

}  // namespace

struct GrpcServer::Impl {
  Impl(const GrpcServerOptions& options, flow::Engine* engine, const flow::Text* text)
      : dispatcher(options.dispatcher, engine, text),
        generation(NewGenerationService(&dispatcher)),
        cluster(NewClusterService(engine, &dispatcher.gate())) {}

  void PublishHealth(bool serving) {
    grpc::HealthCheckServiceInterface* const health = server->GetHealthCheckService();
    for (const char* name : {"", "pamir.v1.Generation", "pamir.v1.Cluster"}) {
      health->SetServingStatus(name, serving);
    }
  }

  // The engine's readiness as the health service shows it, until the drain.
  void WatchHealth(absl::Duration interval) {
    bool last = false;
    do {
      const flow::EngineStats stats = dispatcher.engine().Stats();
      const bool serving = stats.ready && !stats.draining;
      if (serving != last) PublishHealth(serving);
      last = serving;
    } while (!stop_health.WaitForNotificationWithTimeout(interval));
    PublishHealth(false);
  }

  // Order matters: the server goes first, then the services and what they use.
  Dispatcher dispatcher;
  const std::unique_ptr<grpc::Service> generation;
  const std::unique_ptr<grpc::Service> cluster;
  int port = 0;
  absl::Notification stop_health;
  std::unique_ptr<grpc::Server> server;
  std::thread health_thread;
};

GrpcServer::GrpcServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(const GrpcServerOptions& options,
                                                              flow::Engine* engine,
                                                              const flow::Text* text) {
  InstallPlugins();
  PAMIR_RETURN_IF_ERROR(CheckListen(options.host, options.port));
  auto impl = std::make_unique<Impl>(options, engine, text);
  grpc::ServerBuilder builder;
  SetLimits(options, builder);
  builder.RegisterService(impl->generation.get());
  builder.RegisterService(impl->cluster.get());
  builder.AddListeningPort(HostPort(options.host, options.port), grpc::InsecureServerCredentials(),
                           &impl->port);
  impl->server = builder.BuildAndStart();
  if (impl->server == nullptr) {
    PAMIR_RETURN_IF_ERROR(CheckListen(options.host, options.port));  // taken since we looked?
    return absl::InternalError(
        absl::StrCat("gRPC cannot listen on ", HostPort(options.host, options.port)));
  }
  impl->PublishHealth(false);
  impl->health_thread = std::thread(
      [raw = impl.get(), interval = options.health_interval] { raw->WatchHealth(interval); });
  return std::unique_ptr<GrpcServer>(new GrpcServer(std::move(impl)));
}

GrpcServer::~GrpcServer() { Drain(absl::InfinitePast()); }

int GrpcServer::port() const { return impl_->port; }

void GrpcServer::Drain(absl::Time deadline) {
  if (impl_->stop_health.HasBeenNotified()) return;
  impl_->dispatcher.gate().Close();
  impl_->stop_health.Notify();
  impl_->health_thread.join();
  impl_->dispatcher.gate().WaitEmpty(deadline);
  impl_->server->Shutdown(absl::ToChronoTime(absl::Now() + kShutdownGrace));
  // Cancelled calls end on gRPC's threads; they use the text pool until then.
  impl_->dispatcher.gate().WaitEmpty(absl::InfiniteFuture());
  impl_->server->Wait();
}

}  // namespace pamir::gateway
