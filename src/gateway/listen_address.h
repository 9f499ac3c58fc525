#ifndef PAMIR_GATEWAY_LISTEN_ADDRESS_H_
#define PAMIR_GATEWAY_LISTEN_ADDRESS_H_

#include <string>

#include "absl/status/status.h"

namespace pamir::gateway {

// "127.0.0.1:50051", "[::1]:50051".
std::string HostPort(const std::string& host, int port);

// Why nothing can listen there, found by trying: ALREADY_EXISTS "port 50051 on 127.0.0.1 is in
// use", INVALID_ARGUMENT for a host that is unknown or not this one, or a port out of range.
absl::Status WhyNotListening(const std::string& host, int port);

}  // namespace pamir::gateway

#endif  // PAMIR_GATEWAY_LISTEN_ADDRESS_H_
