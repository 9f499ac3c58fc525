#ifndef PAMIR_ENGINE_COMM_SOCKET_OF_H_
#define PAMIR_ENGINE_COMM_SOCKET_OF_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/comm/owned_fd.h"

namespace pamir::comm {

// A descriptor of our own for the socket of a connected Gloo pair, which Gloo does not hand out.
// `self`: the pair's address now (bytes as Gloo writes them); `listened`: what it was before
// connecting; `peer`: where the other side listened. One of the two sides accepted on its listening
// address, the other connected to it, so exactly one socket of this process fits.
absl::StatusOr<OwnedFd> SocketOf(const std::vector<char>& self, const std::string& listened,
                                 const std::string& peer);

}  // namespace pamir::comm

#endif  // PAMIR_ENGINE_COMM_SOCKET_OF_H_
