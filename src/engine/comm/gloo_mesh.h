// A TCP connection to every other rank of a group, through Gloo: its rendezvous, its pairs in sync
// mode, its bound buffers. The waiting is ours (spin, then poll until the deadline), since Gloo's
// either burns a core for the whole timeout or costs two wake-ups a message, and neither can be
// aborted. No exception of Gloo's leaves gloo_mesh.cc and gloo_device.cc.
#ifndef PAMIR_ENGINE_COMM_GLOO_MESH_H_
#define PAMIR_ENGINE_COMM_GLOO_MESH_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/comm/operation.h"

namespace gloo::transport {
class Device;
}

namespace pamir::comm {

using GlooDevice = std::shared_ptr<gloo::transport::Device>;

// A network interface ("eth1"; empty: loopback) with Gloo's thread behind it. Shared by the groups
// of a rank. INVALID_ARGUMENT if there is no interface of that name with an address.
absl::StatusOr<GlooDevice> OpenGlooDevice(const std::string& data_interface);

// The largest payload of a frame. Two frames must fit into a socket's buffers: all ranks send
// before they receive.
inline constexpr int64_t kMaxFrameBytes = 64 * 1024;

class GlooMesh {
 public:
  static absl::StatusOr<std::unique_ptr<GlooMesh>> Listen(GlooDevice device, GroupInfo group);
  ~GlooMesh();
  GlooMesh(const GlooMesh&) = delete;
  GlooMesh& operator=(const GlooMesh&) = delete;

  const GroupInfo& group() const { return group_; }

  // [size]: where each peer reaches this rank, as Gloo writes addresses; own one empty.
  const std::vector<std::string>& addresses() const { return addresses_; }

  // peers[r]: rank r's address for this rank. Returns when all connections stand.
  absl::Status Connect(const std::vector<std::string>& peers);

  // A frame carries a piece of an operation of `total` bytes, so that ranks which disagree notice.
  // Payloads are written to outbox() and found in inbox(peer), until the next Recv from that peer.
  int64_t frame_bytes() const { return frame_bytes_; }
  char* outbox() { return outbox_.data() + kHeaderBytes; }
  const char* inbox(int peer) const;
  absl::Status Send(Operation op, int peer, int64_t total, int64_t payload_bytes);
  absl::Status Recv(Operation op, int peer, int64_t total, int64_t payload_bytes);

  // Tells the peers why this rank gives up, as far as they can still be told without waiting.
  void SayFarewell(const std::string& why);

  // From any thread: ends whatever waits; peers see closed connections.
  void Shutdown();

 private:
  struct Link;
  static constexpr size_t kHeaderBytes = 16;

  GlooMesh(GlooDevice device, GroupInfo group);
  void ListenOrThrow();
  void ConnectOrThrow(int peer, const std::string& address);
  absl::Status AwaitReadable(Operation op, int peer);
  absl::Status LinkError(Operation op, int peer, const std::string& what) const;

  const GroupInfo group_;
  const int64_t frame_bytes_;
  std::vector<char> outbox_;
  std::vector<std::string> addresses_;
  std::vector<std::unique_ptr<Link>> links_;  // [size], own one null
  struct Transport;
  std::unique_ptr<Transport> transport_;
};

}  // namespace pamir::comm

#endif  // PAMIR_ENGINE_COMM_GLOO_MESH_H_
