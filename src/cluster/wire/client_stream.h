// One attempt at a stream to the coordinator. Internal to wire.
#ifndef PAMIR_CLUSTER_WIRE_CLIENT_STREAM_H_
#define PAMIR_CLUSTER_WIRE_CLIENT_STREAM_H_

#include <grpcpp/client_context.h>
#include <grpcpp/generic/generic_stub.h>

#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "cluster/wire/frame_buffer.h"
#include "cluster/wire/links.h"
#include "cluster/wire/outbox.h"

namespace pamir::wire {

// Must not be destroyed before the stream is done: WaitUntilDone or Close first. Thread-safe.
class ClientStream final : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  // The handler hears nothing of a stream that never connected.
  ClientStream(const std::shared_ptr<grpc::Channel>& channel, CoordinatorLinkHandler* handler);

  // OK once the coordinator has answered; else why the stream ended, or DEADLINE_EXCEEDED: then an
  // answer comes too late, and the handler hears nothing of this stream. Once.
  absl::Status WaitUntilConnected(absl::Duration timeout) ABSL_LOCKS_EXCLUDED(mutex_);

  bool Send(Frame frame) ABSL_LOCKS_EXCLUDED(mutex_);
  // Ends the stream behind what was sent; after `timeout` by force. Returns when it is done.
  void Close(absl::Duration timeout) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void OnReadInitialMetadataDone(bool ok) override;
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

  // Starts the next write, or the end of writing.
  void Proceed() ABSL_LOCKS_EXCLUDED(mutex_);
  void Refuse(const absl::Status& why) ABSL_LOCKS_EXCLUDED(mutex_);
  bool ConnectedOrDone() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return connected_ || done_; }

  CoordinatorLinkHandler* const handler_;
  grpc::ClientContext context_;
  grpc::GenericStub stub_;
  grpc::ByteBuffer incoming_, outgoing_;

  absl::Mutex mutex_;
  Outbox outbox_ ABSL_GUARDED_BY(mutex_);
  bool connected_ ABSL_GUARDED_BY(mutex_) = false;
  bool given_up_ ABSL_GUARDED_BY(mutex_) = false;      // nobody waits for `connected_`
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;       // nothing more is queued
  bool writes_ended_ ABSL_GUARDED_BY(mutex_) = false;  // the hold is released
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);  // our reason, where we ended it
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace pamir::wire

#endif  // PAMIR_CLUSTER_WIRE_CLIENT_STREAM_H_
