// Which addresses stay on this machine, and what that allows: the control plane off loopback needs
// mutual TLS, on both sides.
#ifndef PAMIR_CLUSTER_WIRE_ADDRESS_H_
#define PAMIR_CLUSTER_WIRE_ADDRESS_H_

#include <string>

#include "absl/status/status.h"

namespace pamir::wire {

// PEM files. All three, or none: then the connection is not encrypted and must stay on loopback.
struct TlsFiles {
  std::string certificate;  // this side's chain
  std::string key;
  std::string ca;  // which the other side's certificate must come from
  bool given() const { return !certificate.empty() || !key.empty() || !ca.empty(); }
};

// unix:PATH, localhost, 127.0.0.0/8 and ::1, with or without a port.
bool IsLoopback(const std::string& address);

// "host:port", "[ipv6]:port", "unix:/path". INVALID_ARGUMENT says what is wrong.
absl::Status CheckAddress(const std::string& address);

// FAILED_PRECONDITION: `address` is off loopback and `tls` is not given. INVALID_ARGUMENT: `tls` is
// given in part.
absl::Status CheckTransport(const std::string& address, const TlsFiles& tls);

}  // namespace pamir::wire

#endif  // PAMIR_CLUSTER_WIRE_ADDRESS_H_
