#include "cluster/wire/frame_buffer.h"

#include <string>
#include <vector>

namespace pamir::wire {
namespace {

// Calls decode(bytes) on the buffer's bytes; copies only what came in several pieces.
template <typename Decode>
auto WithBytes(const grpc::ByteBuffer& buffer, const Decode& decode) {
  grpc::Slice whole;
  if (buffer.TrySingleSlice(&whole).ok()) {
    return decode(std::string_view(reinterpret_cast<const char*>(whole.begin()), whole.size()));
  }
  std::vector<grpc::Slice> slices;
  std::string joined;
  if (buffer.Dump(&slices).ok()) {
    joined.reserve(buffer.Length());
    for (const grpc::Slice& slice : slices) {
      joined.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
    }
  }
  return decode(std::string_view(joined));
}

}  // namespace

grpc::ByteBuffer ToBuffer(const Frame& frame) {
  const auto release = [](void* owner) { delete static_cast<Frame*>(owner); };
  const grpc::Slice slice(const_cast<char*>(frame->data()), frame->size(), release,
                          new Frame(frame));
  return grpc::ByteBuffer(&slice, 1);
}

absl::StatusOr<FromWorker> DecodeFromWorker(const grpc::ByteBuffer& buffer) {
  return WithBytes(buffer, [](std::string_view bytes) { return DecodeFromWorker(bytes); });
}

absl::StatusOr<ToWorker> DecodeToWorker(const grpc::ByteBuffer& buffer) {
  return WithBytes(buffer, [](std::string_view bytes) { return DecodeToWorker(bytes); });
}

grpc::Status ToGrpc(const absl::Status& status) {
  const auto message = status.message();
  return grpc::Status(static_cast<grpc::StatusCode>(status.raw_code()),
                      std::string(message.data(), message.size()));
}

absl::Status FromGrpc(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

}  // namespace pamir::wire
