// The coordinator's end of the control plane over gRPC.
#ifndef PAMIR_CLUSTER_WIRE_CONTROL_SERVER_H_
#define PAMIR_CLUSTER_WIRE_CONTROL_SERVER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cluster/wire/address.h"
#include "cluster/wire/links.h"

namespace pamir::wire {

struct ListenOptions {
  std::string address = "127.0.0.1:0";  // port 0: any free one; or "unix:/path"
  TlsFiles tls;                         // must be given where the address is off loopback
  std::string token;  // shared secret that a worker must know; empty: none is asked for
  int max_links = 1024;
  absl::Duration join_timeout = absl::Seconds(10);  // of a stream that says nothing, when full
};

class ControlServer : public Links {
 public:
  // Listens. `handler` must live longer than the server. Errors: INVALID_ARGUMENT (address, TLS
  // files), FAILED_PRECONDITION (off loopback without mutual TLS), UNAVAILABLE (port in use).
  static absl::StatusOr<std::unique_ptr<ControlServer>> Start(const ListenOptions& options,
                                                              LinkHandler* handler);

  // What workers connect to: the actual port, or the socket's path.
  virtual const std::string& address() const = 0;

  // Closes all links, after `grace` by force. No handler is called after it returned. The
  // destructor stops without grace.
  virtual void Stop(absl::Duration grace) = 0;
};

}  // namespace pamir::wire

#endif  // PAMIR_CLUSTER_WIRE_CONTROL_SERVER_H_
