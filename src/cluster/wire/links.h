// The two ends of the control plane as seams: real ones speak gRPC (control_server.h,
// control_client.h), simulations have their own.
#ifndef PAMIR_CLUSTER_WIRE_LINKS_H_
#define PAMIR_CLUSTER_WIRE_LINKS_H_

#include <vector>

#include "absl/status/status.h"
#include "cluster/wire/messages.h"

namespace pamir::wire {

// The coordinator's end: one link a worker. Thread-safe; nothing blocks. Messages of one link
// arrive in order. A link whose outgoing queue is full is lost.
class Links {
 public:
  virtual ~Links() = default;
  virtual void Send(LinkId link, const ToWorker& message) = 0;
  // Serialises once, however many links there are.
  virtual void SendToAll(const std::vector<LinkId>& links, const ToWorker& message) = 0;
  // Ends the link behind what was already sent; the worker is told why. Unknown links are ignored.
  virtual void Close(LinkId link, const absl::Status& why) = 0;
};

// What happens at the coordinator's end. Called from threads of the wire, for one link one at a
// time and in this order: OnJoin, any OnMessage, OnGone. Must not block.
class LinkHandler {
 public:
  virtual ~LinkHandler() = default;
  // The protocol version and the token are right.
  virtual void OnJoin(LinkId link, Join join) = 0;
  virtual void OnMessage(LinkId link, FromWorker message) = 0;  // never a Join
  virtual void OnGone(LinkId link, absl::Status reason) = 0;    // last; only after OnJoin
};

// The worker's end. Thread-safe.
class CoordinatorLink {
 public:
  virtual ~CoordinatorLink() = default;
  // Does not block. False: the link is gone or its queue is full (and then it is gone).
  virtual bool Send(const FromWorker& message) = 0;
  // Ends the link behind what was sent and waits for that, at most `timeout`.
  virtual void Close(absl::Duration timeout) = 0;
};

// Called from threads of the wire, one at a time; must not block.
class CoordinatorLinkHandler {
 public:
  virtual ~CoordinatorLinkHandler() = default;
  virtual void OnMessage(ToWorker message) = 0;
  virtual void OnGone(absl::Status reason) = 0;  // last; OK where the coordinator ended it cleanly
};

}  // namespace pamir::wire

#endif  // PAMIR_CLUSTER_WIRE_LINKS_H_
