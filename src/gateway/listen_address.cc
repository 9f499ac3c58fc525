#include "gateway/listen_address.h"

#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace pamir::gateway {
namespace {

// The errno of binding one address; 0 when it works.
int TryBind(const addrinfo& address) {
  const int fd = socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  const int on = 1;  // as gRPC does: a port in TIME_WAIT is free
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  int error = bind(fd, address.ai_addr, address.ai_addrlen) == 0 ? 0 : errno;
  if (error == 0 && listen(fd, 1) != 0) error = errno;
  close(fd);
  return error;
}

}  // namespace

std::string HostPort(const std::string& host, int port) {
  const bool ipv6 = host.find(':') != std::string::npos;
  return ipv6 ? absl::StrCat("[", host, "]:", port) : absl::StrCat(host, ":", port);
}

int ErrorOfBinds(const std::vector<int>& errors) {
  int error = errors.empty() ? EADDRNOTAVAIL : errors.front();
  for (const int one : errors) {
    if (one == EADDRINUSE) return one;
    if (one == 0) error = 0;
  }
  return error;
}

absl::Status CheckListen(const std::string& host, int port) {
  if (port < 0 || port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat("port ", port,
                                                   " does not exist; give one from 0 "
                                                   "(any free one) to 65535"));
  }
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const int unknown = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (unknown != 0) {
    return absl::InvalidArgumentError(absl::StrCat("host \"", host, "\": ", gai_strerror(unknown),
                                                   "; give a name or address of this machine"));
  }
  std::vector<int> errors;
  for (const addrinfo* at = found; at != nullptr; at = at->ai_next) errors.push_back(TryBind(*at));
  freeaddrinfo(found);
  const int error = ErrorOfBinds(errors);
  if (error == 0) return absl::OkStatus();
  if (error == EADDRINUSE) {
    return absl::AlreadyExistsError(absl::StrCat(
        "port ", port, " on ", host, " is in use; choose another, or end what uses it"));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("cannot listen on ", HostPort(host, port), ": ", strerror(error)));
}

}  // namespace pamir::gateway
