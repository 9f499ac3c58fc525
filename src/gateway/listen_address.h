#ifndef PAMIR_GATEWAY_LISTEN_ADDRESS_H_
#define PAMIR_GATEWAY_LISTEN_ADDRESS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace pamir::gateway {

// "127.0.0.1:50051", "[::1]:50051".
std::string HostPort(const std::string& host, int port);

// Whether a server could listen there, found by trying, so that the reason is a clear one:
// ALREADY_EXISTS "port 50051 on 127.0.0.1 is in use", INVALID_ARGUMENT for a host that is unknown
// or not this one, or a port out of range. (gRPC itself takes port 70000 for 4464.)
absl::Status CheckListen(const std::string& host, int port);

// The errno of listening on all addresses of a name: one of them is enough (::1 of "localhost"
// where IPv6 is off), but none may be in use by another server. 0: it works.
int ErrorOfBinds(const std::vector<int>& errors);

}  // namespace pamir::gateway

#endif  // PAMIR_GATEWAY_LISTEN_ADDRESS_H_
