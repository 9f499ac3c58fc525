#include "engine/comm/socket_of.h"

#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <cstring>
#include <memory>

namespace pamir::comm {
namespace {

// Gloo's address bytes begin with a sockaddr_storage. Family, port and IP address of one, so that
// two can be compared without their padding.
std::string Endpoint(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    return std::string("4") + std::string(reinterpret_cast<const char*>(&v4.sin_port), 2) +
           std::string(reinterpret_cast<const char*>(&v4.sin_addr), sizeof(v4.sin_addr));
  }
  if (address.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
    return std::string("6") + std::string(reinterpret_cast<const char*>(&v6.sin6_port), 2) +
           std::string(reinterpret_cast<const char*>(&v6.sin6_addr), sizeof(v6.sin6_addr));
  }
  return "";
}

std::string EndpointOfBytes(const char* bytes, size_t size) {
  sockaddr_storage address{};
  std::memcpy(&address, bytes, std::min(size, sizeof(address)));
  return Endpoint(address);
}

using NameFn = int (*)(int, sockaddr*, socklen_t*);

std::string EndpointOfSocket(int fd, NameFn name) {
  sockaddr_storage address{};
  socklen_t size = sizeof(address);
  return name(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0 ? Endpoint(address) : "";
}

}  // namespace

absl::StatusOr<OwnedFd> SocketOf(const std::vector<char>& self, const std::string& listened,
                                 const std::string& peer) {
  const std::string local = EndpointOfBytes(self.data(), self.size());
  const std::string mine = EndpointOfBytes(listened.data(), listened.size());
  const std::string theirs = EndpointOfBytes(peer.data(), peer.size());
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(opendir("/proc/self/fd"), closedir);
  if (folder == nullptr) return absl::UnavailableError("/proc/self/fd cannot be read");
  while (const dirent* entry = readdir(folder.get())) {
    const int fd = atoi(entry->d_name);
    if (EndpointOfSocket(fd, getsockname) != local) continue;
    const std::string remote = EndpointOfSocket(fd, getpeername);
    if (remote.empty() || (local != mine && remote != theirs)) continue;
    OwnedFd own(fcntl(fd, F_DUPFD_CLOEXEC, 3));
    if (own.get() >= 0) return own;
  }
  return absl::UnavailableError("the connection was closed at once by the other side");
}

}  // namespace pamir::comm
