// One worker's stream at the coordinator. Internal to wire.
#ifndef PAMIR_CLUSTER_WIRE_SERVER_LINK_H_
#define PAMIR_CLUSTER_WIRE_SERVER_LINK_H_

#include <grpcpp/support/server_callback.h>

#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "cluster/wire/frame_buffer.h"
#include "cluster/wire/links.h"
#include "cluster/wire/outbox.h"

namespace pamir::wire {

// Lives from the stream's beginning to OnDone, which calls `on_done` last. Reactions come from
// gRPC's threads, reads one at a time; Send and Close may come from any thread.
class ServerLink final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  ServerLink(LinkId id, grpc::CallbackServerContext* context, const std::string& token,
             LinkHandler* handler, std::function<void()> on_done);

  void Start();
  void Send(const Frame& frame) ABSL_LOCKS_EXCLUDED(mutex_);
  // Ends the stream with `why` once all is sent.
  void Close(const absl::Status& why) ABSL_LOCKS_EXCLUDED(mutex_);

  // Has not said Join, and has been there since before `since`.
  bool IsLateToJoin(absl::Time since) const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  absl::Status Receive() ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status CheckJoin(const Join& join) const;
  // No more is read: tells the handler, ends the stream.
  void Leave(const absl::Status& why) ABSL_LOCKS_EXCLUDED(mutex_);
  void Cancel() ABSL_LOCKS_EXCLUDED(mutex_);
  // Starts what may be started now: the next write, or the end.
  void Proceed() ABSL_LOCKS_EXCLUDED(mutex_);

  const LinkId id_;
  grpc::CallbackServerContext* const context_;
  const std::string token_;
  LinkHandler* const handler_;
  const std::function<void()> on_done_;
  const absl::Time opened_ = absl::Now();

  grpc::ByteBuffer incoming_;  // of the read in progress
  grpc::ByteBuffer outgoing_;  // of the write in progress

  mutable absl::Mutex mutex_;
  Outbox outbox_ ABSL_GUARDED_BY(mutex_);
  bool joined_ ABSL_GUARDED_BY(mutex_) = false;
  bool told_gone_ ABSL_GUARDED_BY(mutex_) = false;
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;  // `why_` says why
  bool cancelling_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;  // Finish was called
  absl::Status why_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace pamir::wire

#endif  // PAMIR_CLUSTER_WIRE_SERVER_LINK_H_
