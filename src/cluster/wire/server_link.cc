#include "cluster/wire/server_link.h"

#include <grpcpp/server_context.h>
#include <openssl/crypto.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace pamir::wire {
namespace {

// In a time that does not depend on where the two differ.
bool SameSecret(const std::string& a, const std::string& b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace

ServerLink::ServerLink(LinkId id, grpc::CallbackServerContext* context, const std::string& token,
                       LinkHandler* handler, std::function<void()> on_done)
    : id_(id), context_(context), token_(token), handler_(handler), on_done_(std::move(on_done)) {}

void ServerLink::Start() {
  StartSendInitialMetadata();  // tells the worker that it is connected
  StartRead(&incoming_);
}

void ServerLink::Send(const Frame& frame) {
  bool overflow = false;
  {
    absl::MutexLock lock(&mutex_);
    if (ending_) return;
    overflow = !outbox_.Push(frame);
    if (overflow) {
      ending_ = cancelling_ = true;
      why_ =
          absl::ResourceExhaustedError("it does not take its messages: the outgoing queue is full");
      outbox_.Clear();
    }
  }
  if (overflow) Cancel();
  Proceed();
}

// Only this ends a write that the peer does not take. cancelling_ keeps the stream, and with it the
// context, from ending meanwhile.
void ServerLink::Cancel() {
  context_->TryCancel();
  absl::MutexLock lock(&mutex_);
  cancelling_ = false;
}

void ServerLink::Close(const absl::Status& why) {
  {
    absl::MutexLock lock(&mutex_);
    if (ending_) return;
    ending_ = true;
    why_ = why;
  }
  Proceed();
}

bool ServerLink::IsLateToJoin(absl::Time since) const {
  absl::MutexLock lock(&mutex_);
  return !joined_ && opened_ < since;
}

void ServerLink::Proceed() {
  std::optional<Frame> frame;
  absl::Status why;
  {
    absl::MutexLock lock(&mutex_);
    frame = outbox_.StartWrite();
    if (!frame) {
      if (!ending_ || cancelling_ || finished_ || !outbox_.flushed()) return;
      finished_ = true;
      why = why_;
    }
  }
  if (!frame) return Finish(ToGrpc(why));
  outgoing_ = ToBuffer(*frame);
  StartWrite(&outgoing_);
}

void ServerLink::OnWriteDone(bool ok) {
  {
    absl::MutexLock lock(&mutex_);
    outbox_.WriteDone();
    if (!ok) outbox_.Clear();  // the reading side learns that the stream is gone
  }
  Proceed();
}

void ServerLink::OnReadDone(bool ok) {
  if (!ok) return Leave(absl::UnavailableError("its connection was closed"));
  const absl::Status status = Receive();
  if (!status.ok()) return Leave(status);
  StartRead(&incoming_);
}

absl::Status ServerLink::Receive() {
  PAMIR_ASSIGN_OR_RETURN(FromWorker message, DecodeFromWorker(incoming_));
  bool joined;
  {
    absl::MutexLock lock(&mutex_);
    joined = joined_;
  }
  Join* join = std::get_if<Join>(&message);
  if ((join == nullptr) != joined) {
    return absl::InvalidArgumentError(absl::StrCat("unexpected ", NameOf(message)));
  }
  if (join == nullptr) {
    handler_->OnMessage(id_, std::move(message));
    return absl::OkStatus();
  }
  PAMIR_RETURN_IF_ERROR(CheckJoin(*join));
  {
    absl::MutexLock lock(&mutex_);
    joined_ = true;
  }
  join->token.clear();
  handler_->OnJoin(id_, std::move(*join));
  return absl::OkStatus();
}

absl::Status ServerLink::CheckJoin(const Join& join) const {
  if (join.protocol_version != kProtocolVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("the worker speaks protocol ", join.protocol_version, ", the coordinator ",
                     kProtocolVersion, ": start the same build of pamir on both"));
  }
  if (!token_.empty() && !SameSecret(join.token, token_)) {
    return absl::PermissionDeniedError("the join token is not the coordinator's");
  }
  return absl::OkStatus();
}

void ServerLink::Leave(const absl::Status& why) {
  bool tell;
  absl::Status reason;
  {
    absl::MutexLock lock(&mutex_);
    if (!ending_) {
      ending_ = true;
      why_ = why;
      if (!joined_) LogWarning(absl::StrCat("a worker was turned away: ", why.ToString()));
    }
    reason = why_;
    tell = joined_ && !std::exchange(told_gone_, true);
  }
  if (tell) handler_->OnGone(id_, reason);
  Proceed();
}

void ServerLink::OnCancel() {
  // The read in progress fails too, and that is where the handler is told; here only the rest of
  // the queue is dropped.
  {
    absl::MutexLock lock(&mutex_);
    outbox_.Clear();
  }
  Proceed();
}

void ServerLink::OnDone() {
  Leave(absl::UnavailableError("its connection was closed"));
  const std::function<void()> on_done = on_done_;
  on_done();  // destroys this
}

}  // namespace pamir::wire
