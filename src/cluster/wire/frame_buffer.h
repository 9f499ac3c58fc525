// Frames <-> gRPC's buffers, without copying where it can be. Internal to wire.
#ifndef PAMIR_CLUSTER_WIRE_FRAME_BUFFER_H_
#define PAMIR_CLUSTER_WIRE_FRAME_BUFFER_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/status.h>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cluster/wire/convert.h"

namespace pamir::wire {

inline constexpr char kAttachMethod[] = "/pamir.internal.v1.Control/Attach";

// Shares the frame: sending one frame to many links copies nothing.
grpc::ByteBuffer ToBuffer(const Frame& frame);

absl::StatusOr<FromWorker> DecodeFromWorker(const grpc::ByteBuffer& buffer);
absl::StatusOr<ToWorker> DecodeToWorker(const grpc::ByteBuffer& buffer);

grpc::Status ToGrpc(const absl::Status& status);
absl::Status FromGrpc(const grpc::Status& status);

}  // namespace pamir::wire

#endif  // PAMIR_CLUSTER_WIRE_FRAME_BUFFER_H_
