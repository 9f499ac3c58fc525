#include "cluster/wire/address.h"

#include <arpa/inet.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace pamir::wire {
namespace {

constexpr char kUnix[] = "unix:";
constexpr size_t kMaxUnixPath = 107;  // sockaddr_un

bool IsUnix(const std::string& address) { return address.rfind(kUnix, 0) == 0; }

// "127.0.0.1" of "127.0.0.1:80", "::1" of "[::1]:80"; whole where there is no port.
std::string HostOf(const std::string& address) {
  if (!address.empty() && address[0] == '[') {
    const size_t end = address.find(']');
    return address.substr(1, end == std::string::npos ? end : end - 1);
  }
  const size_t colon = address.find(':');
  const bool one_colon = colon != std::string::npos && address.rfind(':') == colon;
  return one_colon ? address.substr(0, colon) : address;
}

}  // namespace

bool IsLoopback(const std::string& address) {
  if (IsUnix(address)) return true;
  const std::string host = HostOf(address);
  if (host == "localhost") return true;
  in_addr v4;
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6;
  return inet_pton(AF_INET6, host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

absl::Status CheckAddress(const std::string& address) {
  if (IsUnix(address)) {
    const size_t length = address.size() - (sizeof(kUnix) - 1);
    if (length >= 1 && length <= kMaxUnixPath) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("the socket path in ", address, " has ", length,
                                                   " bytes; 1 to ", kMaxUnixPath, " are allowed"));
  }
  const size_t colon = address.rfind(':');
  int port = -1;
  if (colon == std::string::npos || colon == 0 || HostOf(address).empty() ||
      !absl::SimpleAtoi(address.substr(colon + 1), &port) || port < 0 || port > 65535 ||
      (address[0] != '[' && address.find(':') != colon)) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", address, "' is not HOST:PORT, [IPV6]:PORT or unix:PATH"));
  }
  return absl::OkStatus();
}

absl::Status CheckTransport(const std::string& address, const TlsFiles& tls) {
  const bool whole = !tls.certificate.empty() && !tls.key.empty() && !tls.ca.empty();
  if (tls.given() && !whole) {
    return absl::InvalidArgumentError(
        "mutual TLS of the control plane needs all three: certificate, key and CA");
  }
  if (whole || IsLoopback(address)) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      address,
      " is not a loopback address, and the control plane off loopback needs mutual TLS: "
      "give certificate, key and CA files, or use 127.0.0.1 or unix:PATH"));
}

}  // namespace pamir::wire
