// Gather made of messages: what the transports that have Send and Recv share.
#ifndef PAMIR_ENGINE_COMM_GATHER_MESSAGES_H_
#define PAMIR_ENGINE_COMM_GATHER_MESSAGES_H_

#include <cstdint>
#include <cstring>
#include <vector>

#include "absl/status/status.h"
#include "base/status_macros.h"

namespace pamir::comm {

// Every rank but `root` sends its counts[rank] floats; root takes them in rank order into `all`,
// its own part included. send(peer, data, bytes) and recv(peer, data, bytes) return a Status. The
// arguments have been checked.
template <typename Send, typename Recv>
absl::Status GatherByMessages(int rank, int root, const float* mine,
                              const std::vector<int64_t>& counts, float* all, const Send& send,
                              const Recv& recv) {
  const auto bytes_of = [&](int r) {
    return counts[static_cast<size_t>(r)] * static_cast<int64_t>(sizeof(float));
  };
  if (rank != root) return send(root, reinterpret_cast<const char*>(mine), bytes_of(rank));
  char* to = reinterpret_cast<char*>(all);
  for (int r = 0; r < static_cast<int>(counts.size()); ++r) {
    if (r != root) {
      PAMIR_RETURN_IF_ERROR(recv(r, to, bytes_of(r)));
    } else if (bytes_of(r) > 0) {
      std::memmove(to, mine, static_cast<size_t>(bytes_of(r)));
    }
    to += bytes_of(r);
  }
  return absl::OkStatus();
}

}  // namespace pamir::comm

#endif  // PAMIR_ENGINE_COMM_GATHER_MESSAGES_H_
