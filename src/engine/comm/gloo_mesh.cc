#include "engine/comm/gloo_mesh.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <exception>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "base/units.h"
#include "engine/comm/owned_fd.h"
#include "engine/comm/sigpipe_guard.h"
#include "engine/comm/socket_of.h"
#include "engine/comm/wait.h"
#include "gloo/transport/buffer.h"
#include "gloo/transport/context.h"
#include "gloo/transport/device.h"
#include "gloo/transport/pair.h"

namespace pamir::comm {
namespace {

constexpr int kSlot = 0;  // of the one buffer in each direction of a pair

// In front of each payload. Hosts are little-endian.
struct FrameHeader {
  uint32_t operation = 0;
  uint32_t payload_bytes = 0;
  int64_t total = 0;
};

// Gloo waits five times its timeout for a connection.
constexpr int kGlooConnectFactor = 5;

std::chrono::milliseconds GlooTimeout(absl::Duration timeout) {
  const int64_t ms = absl::ToInt64Milliseconds(std::min(timeout, absl::Hours(1000)));
  return std::chrono::milliseconds(std::max<int64_t>(1, ms / kGlooConnectFactor));
}

// Gloo's messages begin with "[/path/of/its/source.cc:123] ".
std::string WithoutPlace(const std::string& what) {
  const size_t end = what.find("] ");
  return what.empty() || what[0] != '[' || end == std::string::npos ? what : what.substr(end + 2);
}

// Once connected, the socket's timeouts hold for each read and write that makes no progress.
void SetSocketTimeouts(int fd, absl::Duration timeout) {
  const timeval time =
      absl::ToTimeval(std::clamp(timeout, absl::Milliseconds(1), absl::Hours(1000)));
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof(time));
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &time, sizeof(time));
}

}  // namespace

struct GlooMesh::Transport {
  GlooDevice device;  // pairs refer to it; destroyed after them
  std::shared_ptr<gloo::transport::Context> context;
};

struct GlooMesh::Link {
  gloo::transport::Pair* pair = nullptr;  // the context's
  std::vector<char> inbox;
  OwnedFd socket;  // our own descriptor of the pair's socket: to poll, and to end its reads
  std::unique_ptr<gloo::transport::Buffer> receive;
  std::unique_ptr<gloo::transport::Buffer> send;
};

GlooMesh::GlooMesh(GlooDevice device, GroupInfo group)
    : group_(std::move(group)),
      frame_bytes_(RoundUp(std::clamp<int64_t>(group_.max_message_bytes, 64, kMaxFrameBytes), 64)),
      outbox_(kHeaderBytes + static_cast<size_t>(frame_bytes_)),
      addresses_(static_cast<size_t>(group_.size())),
      links_(static_cast<size_t>(group_.size())),
      transport_(std::make_unique<Transport>()) {
  static_assert(sizeof(FrameHeader) == kHeaderBytes);
  transport_->device = std::move(device);
}

GlooMesh::~GlooMesh() {
  links_.clear();  // buffers before their pairs
}

absl::StatusOr<std::unique_ptr<GlooMesh>> GlooMesh::Listen(GlooDevice device, GroupInfo group) {
  std::unique_ptr<GlooMesh> mesh(new GlooMesh(std::move(device), std::move(group)));
  try {
    mesh->ListenOrThrow();
  } catch (const std::exception& e) {
    return absl::UnavailableError(absl::StrCat("listening: ", WithoutPlace(e.what())));
  }
  return mesh;
}

void GlooMesh::ListenOrThrow() {
  transport_->context = transport_->device->createContext(group_.rank, group_.size());
  transport_->context->setTimeout(GlooTimeout(group_.timeout));
  for (int r = 0; r < group_.size(); ++r) {
    if (r == group_.rank) continue;
    auto link = std::make_unique<Link>();
    link->pair = transport_->context->createPair(r).get();
    const std::vector<char> address = link->pair->address().bytes();
    addresses_[static_cast<size_t>(r)].assign(address.begin(), address.end());
    link->inbox.resize(outbox_.size());
    links_[static_cast<size_t>(r)] = std::move(link);
  }
}

absl::Status GlooMesh::Connect(const std::vector<std::string>& peers) {
  PAMIR_CHECK(peers.size() == links_.size(), "one address a rank");
  for (int r = 0; r < group_.size(); ++r) {
    if (r == group_.rank) continue;
    const std::string& address = peers[static_cast<size_t>(r)];
    try {
      ConnectOrThrow(r, address);
    } catch (const std::exception& e) {
      return absl::UnavailableError(
          absl::StrCat("connecting to ", group_.RankName(r), ": ", WithoutPlace(e.what())));
    }
    Link& link = *links_[static_cast<size_t>(r)];
    PAMIR_ASSIGN_OR_RETURN(link.socket, SocketOf(link.pair->address().bytes(),
                                                 addresses_[static_cast<size_t>(r)], address));
    SetSocketTimeouts(link.socket.get(), group_.timeout);
  }
  return absl::OkStatus();
}

void GlooMesh::ConnectOrThrow(int peer, const std::string& address) {
  Link& link = *links_[static_cast<size_t>(peer)];
  link.pair->connect(std::vector<char>(address.begin(), address.end()));
  link.pair->setSync(/*enable=*/true, /*busyPoll=*/false);
  link.receive = link.pair->createRecvBuffer(kSlot, link.inbox.data(), link.inbox.size());
  link.send = link.pair->createSendBuffer(kSlot, outbox_.data(), outbox_.size());
}

const char* GlooMesh::inbox(int peer) const {
  return links_[static_cast<size_t>(peer)]->inbox.data() + kHeaderBytes;
}

absl::Status GlooMesh::Send(Operation op, int peer, int64_t total, int64_t payload_bytes) {
  const FrameHeader header{static_cast<uint32_t>(op), static_cast<uint32_t>(payload_bytes), total};
  std::memcpy(outbox_.data(), &header, sizeof(header));
  Link& link = *links_[static_cast<size_t>(peer)];
  const SigpipeGuard guard;
  try {
    link.send->send(0, kHeaderBytes + static_cast<size_t>(payload_bytes));
    link.send->waitSend();
  } catch (const std::exception& e) {
    return LinkError(op, peer, e.what());
  }
  return absl::OkStatus();
}

absl::Status GlooMesh::Recv(Operation op, int peer, int64_t total, int64_t payload_bytes) {
  PAMIR_RETURN_IF_ERROR(AwaitReadable(op, peer));
  Link& link = *links_[static_cast<size_t>(peer)];
  try {
    link.receive->waitRecv();
  } catch (const std::exception& e) {
    return LinkError(op, peer, e.what());
  }
  FrameHeader header;
  std::memcpy(&header, link.inbox.data(), sizeof(header));
  if (header.operation == static_cast<uint32_t>(Operation::kGaveUp)) {
    const size_t most = std::min<size_t>(header.payload_bytes, static_cast<size_t>(frame_bytes_));
    return absl::UnavailableError(
        absl::StrCat(group_.RankName(peer), " gave up: ", std::string(inbox(peer), most)));
  }
  if (header.operation != static_cast<uint32_t>(op) || header.total != total ||
      header.payload_bytes != static_cast<uint64_t>(payload_bytes)) {
    return NotTheSame(group_, peer, static_cast<Operation>(header.operation), header.total, op,
                      total);
  }
  return absl::OkStatus();
}

absl::Status GlooMesh::AwaitReadable(Operation op, int peer) {
  const int fd = links_[static_cast<size_t>(peer)]->socket.get();
  // A closed connection is readable, too: the read will say so.
  const auto readable = [fd](int wait_ms) {
    pollfd poll_fd{fd, POLLIN, 0};
    return poll(&poll_fd, 1, wait_ms) == 1;
  };
  if (readable(0)) return absl::OkStatus();
  if (group_.spin && SpinUntil([&] { return readable(0); })) return absl::OkStatus();
  const absl::Time deadline = absl::Now() + group_.timeout;
  for (;;) {
    const absl::Duration left = std::min(deadline - absl::Now(), absl::Hours(1));
    if (left <= absl::ZeroDuration()) return DidNotCome(group_, op, {peer});
    if (readable(static_cast<int>(absl::ToInt64Milliseconds(left)) + 1)) return absl::OkStatus();
  }
}

absl::Status GlooMesh::LinkError(Operation op, int peer, const std::string& what) const {
  // What a read or a write says that ran into the socket's timeout.
  if (what.find("timeout") != std::string::npos) return DidNotCome(group_, op, {peer});
  return absl::UnavailableError(absl::StrCat(group_.RankName(peer),
                                             " has ended or closed its connection during ",
                                             Name(op), " (", WithoutPlace(what), ")"));
}

void GlooMesh::SayFarewell(const std::string& why) {
  const auto bytes = std::min(static_cast<int64_t>(why.size()), frame_bytes_);
  std::memcpy(outbox(), why.data(), static_cast<size_t>(bytes));
  for (int r = 0; r < group_.size(); ++r) {
    if (r == group_.rank) continue;
    const int fd = links_[static_cast<size_t>(r)]->socket.get();
    pollfd poll_fd{fd, POLLOUT, 0};
    const timeval at_once{0, 1000};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &at_once, sizeof(at_once));
    // A peer that cannot be told sees the connection close.
    if (poll(&poll_fd, 1, 0) == 1) Send(Operation::kGaveUp, r, bytes, bytes).IgnoreError();
  }
}

void GlooMesh::Shutdown() {
  for (const auto& link : links_) {
    if (link != nullptr && link->socket.get() >= 0) shutdown(link->socket.get(), SHUT_RDWR);
  }
}

}  // namespace pamir::comm
