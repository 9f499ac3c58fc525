#include "cluster/wire/control_server.h"

#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>

#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "cluster/wire/credentials.h"
#include "cluster/wire/server_link.h"
#include "pamir/internal/v1/control.grpc.pb.h"

namespace pamir::wire {
namespace {

using AttachReactor = grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>;
using RawService =
    internal::v1::Control::WithRawCallbackMethod_Attach<internal::v1::Control::Service>;

// Workers ping an idle connection this often (control_client.cc); more is taken for an attack.
constexpr int kMinPingIntervalMs = 4000;

class Refusal final : public AttachReactor {
 public:
  explicit Refusal(const absl::Status& why) { Finish(ToGrpc(why)); }
  void OnDone() override { delete this; }
};

class ControlServerImpl final : public ControlServer, private RawService {
 public:
  ControlServerImpl(const ListenOptions& options, LinkHandler* handler)
      : options_(options), handler_(handler) {}
  ~ControlServerImpl() override { Stop(absl::ZeroDuration()); }

  absl::Status Listen();

  const std::string& address() const override { return address_; }
  void Stop(absl::Duration grace) override;

  void Send(LinkId link, const ToWorker& message) override;
  void SendToAll(const std::vector<LinkId>& links, const ToWorker& message) override;
  void Close(LinkId link, const absl::Status& why) override;

 private:
  using LinkPtr = std::shared_ptr<ServerLink>;

  AttachReactor* Attach(grpc::CallbackServerContext* context) override;
  LinkPtr Find(LinkId id) const ABSL_LOCKS_EXCLUDED(mutex_);
  void Remove(LinkId id) ABSL_LOCKS_EXCLUDED(mutex_);
  std::vector<LinkPtr> LateLinks() const ABSL_LOCKS_EXCLUDED(mutex_);
  bool NoLinks() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return links_.empty(); }

  const ListenOptions options_;
  LinkHandler* const handler_;
  std::string address_;
  std::unique_ptr<grpc::Server> server_;

  mutable absl::Mutex mutex_;
  uint64_t last_id_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::flat_hash_map<LinkId, LinkPtr> links_ ABSL_GUARDED_BY(mutex_);
};

absl::Status ControlServerImpl::Listen() {
  PAMIR_RETURN_IF_ERROR(CheckAddress(options_.address));
  PAMIR_RETURN_IF_ERROR(CheckTransport(options_.address, options_.tls));
  PAMIR_ASSIGN_OR_RETURN(auto credentials, MakeServerCredentials(options_.tls));
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(options_.address, credentials, &port);
  builder.RegisterService(static_cast<RawService*>(this));
  builder.SetMaxReceiveMessageSize(static_cast<int>(kMaxFrameBytes));
  builder.SetMaxSendMessageSize(static_cast<int>(kMaxFrameBytes));
  // Else a second server on the same port starts silently and takes half of the workers.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
                             kMinPingIntervalMs);
  server_ = builder.BuildAndStart();
  if (server_ == nullptr) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", options_.address,
                     " for workers: the port is in use, the address is "
                     "not of this machine, or certificate and key do not belong together"));
  }
  address_ = options_.address;
  if (address_.rfind("unix:", 0) != 0) {
    address_ = absl::StrCat(address_.substr(0, address_.rfind(':')), ":", port);
  }
  return absl::OkStatus();
}

void ControlServerImpl::Stop(absl::Duration grace) {
  if (server_ == nullptr) return;
  server_->Shutdown(absl::ToChronoTime(absl::Now() + grace));
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(this, &ControlServerImpl::NoLinks));
}

AttachReactor* ControlServerImpl::Attach(grpc::CallbackServerContext* context) {
  for (const LinkPtr& link : LateLinks()) {
    link->Close(absl::DeadlineExceededError("it did not say Join in time"));
  }
  LinkPtr link;
  {
    absl::MutexLock lock(&mutex_);
    if (static_cast<int>(links_.size()) >= options_.max_links) {
      return new Refusal(absl::ResourceExhaustedError(
          absl::StrCat("the coordinator has ", links_.size(), " connections, its limit")));
    }
    const LinkId id(++last_id_);
    link = std::make_shared<ServerLink>(id, context, options_.token, handler_,
                                        [this, id] { Remove(id); });
    links_[id] = link;
  }
  link->Start();
  return link.get();
}

std::vector<ControlServerImpl::LinkPtr> ControlServerImpl::LateLinks() const {
  std::vector<LinkPtr> late;
  absl::MutexLock lock(&mutex_);
  if (static_cast<int>(links_.size()) < options_.max_links) return late;
  const absl::Time since = absl::Now() - options_.join_timeout;
  for (const auto& [id, link] : links_) {
    if (link->IsLateToJoin(since)) late.push_back(link);
  }
  return late;
}

ControlServerImpl::LinkPtr ControlServerImpl::Find(LinkId id) const {
  absl::MutexLock lock(&mutex_);
  const auto found = links_.find(id);
  return found == links_.end() ? nullptr : found->second;
}

void ControlServerImpl::Remove(LinkId id) {
  LinkPtr last;  // destroyed behind the lock
  absl::MutexLock lock(&mutex_);
  const auto found = links_.find(id);
  last = std::move(found->second);
  links_.erase(found);
}

void ControlServerImpl::Send(LinkId link, const ToWorker& message) { SendToAll({link}, message); }

void ControlServerImpl::SendToAll(const std::vector<LinkId>& links, const ToWorker& message) {
  const Frame frame = Encode(message);
  for (const LinkId id : links) {
    if (const LinkPtr link = Find(id)) link->Send(frame);
  }
}

void ControlServerImpl::Close(LinkId id, const absl::Status& why) {
  if (const LinkPtr link = Find(id)) link->Close(why);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ControlServer>> ControlServer::Start(const ListenOptions& options,
                                                                    LinkHandler* handler) {
  auto server = std::make_unique<ControlServerImpl>(options, handler);
  PAMIR_RETURN_IF_ERROR(server->Listen());
  return std::unique_ptr<ControlServer>(std::move(server));
}

}  // namespace pamir::wire
