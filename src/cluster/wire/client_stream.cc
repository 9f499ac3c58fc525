#include "cluster/wire/client_stream.h"

#include <grpcpp/channel.h>

#include <utility>

namespace pamir::wire {

ClientStream::ClientStream(const std::shared_ptr<grpc::Channel>& channel,
                           CoordinatorLinkHandler* handler)
    : handler_(handler), stub_(channel) {
  stub_.PrepareBidiStreamingCall(&context_, kAttachMethod, {}, this);
  // Writes start outside gRPC's reactions; the hold keeps the call alive until the last of them.
  AddHold();
  StartRead(&incoming_);
  StartCall();
}

absl::Status ClientStream::WaitUntilConnected(absl::Duration timeout) {
  absl::MutexLock lock(&mutex_);
  mutex_.AwaitWithTimeout(absl::Condition(this, &ClientStream::ConnectedOrDone), timeout);
  if (connected_) return absl::OkStatus();
  if (done_) return status_;
  given_up_ = true;
  return absl::DeadlineExceededError("no answer");
}

bool ClientStream::Send(Frame frame) {
  bool overflow = false;
  {
    absl::MutexLock lock(&mutex_);
    if (closing_) return false;
    overflow = !outbox_.Push(std::move(frame));
  }
  if (overflow) {
    Refuse(absl::ResourceExhaustedError(
        "the coordinator does not take its messages: the outgoing queue is full"));
    return false;
  }
  Proceed();
  return true;
}

void ClientStream::Refuse(const absl::Status& why) {
  {
    absl::MutexLock lock(&mutex_);
    closing_ = true;
    if (failure_.ok()) failure_ = why;
    outbox_.Clear();
  }
  context_.TryCancel();
  Proceed();
}

void ClientStream::Proceed() {
  std::optional<Frame> frame;
  {
    absl::MutexLock lock(&mutex_);
    frame = outbox_.StartWrite();
    if (!frame) {
      if (!closing_ || writes_ended_ || !outbox_.flushed()) return;
      writes_ended_ = true;
    }
  }
  if (frame) {
    outgoing_ = ToBuffer(*frame);
    return StartWrite(&outgoing_);
  }
  StartWritesDone();
  RemoveHold();  // may end in OnDone, and `this` may be gone behind it
}

void ClientStream::OnReadInitialMetadataDone(bool ok) {
  if (!ok) return;  // OnDone says why
  absl::MutexLock lock(&mutex_);
  connected_ = !given_up_;
}

void ClientStream::OnReadDone(bool ok) {
  if (!ok) {
    {
      absl::MutexLock lock(&mutex_);
      closing_ = true;
      outbox_.Clear();
    }
    return Proceed();
  }
  absl::StatusOr<ToWorker> message = DecodeToWorker(incoming_);
  if (message.ok()) {
    handler_->OnMessage(*std::move(message));
  } else {
    Refuse(message.status());
  }
  StartRead(&incoming_);
}

void ClientStream::OnWriteDone(bool ok) {
  {
    absl::MutexLock lock(&mutex_);
    outbox_.WriteDone();
    if (!ok) outbox_.Clear();  // the reading side learns that the stream is gone
  }
  Proceed();
}

void ClientStream::OnDone(const grpc::Status& status) {
  bool tell;
  absl::Status reason = FromGrpc(status);
  {
    absl::MutexLock lock(&mutex_);
    if (!failure_.ok()) reason = failure_;
    tell = connected_;
  }
  if (tell) handler_->OnGone(reason);
  absl::MutexLock lock(&mutex_);
  status_ = reason;
  done_ = true;
}

void ClientStream::Close(absl::Duration timeout) {
  {
    absl::MutexLock lock(&mutex_);
    closing_ = true;
  }
  Proceed();
  {
    absl::MutexLock lock(&mutex_);
    if (mutex_.AwaitWithTimeout(absl::Condition(&done_), timeout)) return;
  }
  context_.TryCancel();
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(&done_));
}

}  // namespace pamir::wire
