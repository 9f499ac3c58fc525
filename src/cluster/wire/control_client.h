// The worker's end of the control plane over gRPC.
#ifndef PAMIR_CLUSTER_WIRE_CONTROL_CLIENT_H_
#define PAMIR_CLUSTER_WIRE_CONTROL_CLIENT_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cluster/wire/address.h"
#include "cluster/wire/links.h"

namespace pamir::wire {

struct ConnectOptions {
  std::string address;      // "host:port" or "unix:/path" of the coordinator
  TlsFiles tls;             // must be given where the address is off loopback
  std::string server_name;  // expected in the coordinator's certificate; empty: the address's host
  absl::Duration timeout = absl::Seconds(60);  // the coordinator may start later
  std::function<bool()> stop_waiting;          // asked ten times a second; null: never
};

// Blocks until connected. `handler` must outlive the link; it may be called before this returns.
// Errors: INVALID_ARGUMENT, FAILED_PRECONDITION as in ControlServer; DEADLINE_EXCEEDED with the
// last thing that went wrong; CANCELLED where stop_waiting said so.
absl::StatusOr<std::unique_ptr<CoordinatorLink>> ConnectToCoordinator(
    const ConnectOptions& options, CoordinatorLinkHandler* handler);

}  // namespace pamir::wire

#endif  // PAMIR_CLUSTER_WIRE_CONTROL_CLIENT_H_
