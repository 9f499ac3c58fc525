// The transport of GPU ranks that cannot use NCCL together (several ranks on one GPU, no NCCL):
// over a communicator of the host, through pinned memory.
#ifndef PAMIR_ENGINE_COMM_STAGED_H_
#define PAMIR_ENGINE_COMM_STAGED_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "engine/comm/communicator.h"
#include "engine/device/cuda_device.h"

namespace pamir::comm {

// Larger messages go in pieces of this size: the next one is copied while the host's operation
// works on this one.
inline constexpr int64_t kStagedPieceBytes = 1024 * 1024;

// Pinned memory that MakeStagedCommunicator takes.
int64_t StagedPinnedBytes(int64_t max_message_bytes);

// An operation waits for the stream, since the host's part can begin only then; it returns when the
// copy back is queued. `device` outlives it. The host communicator carries at least
// max_message_bytes. piece_bytes: a multiple of 4, smaller in tests.
absl::StatusOr<std::unique_ptr<Communicator>> MakeStagedCommunicator(
    std::shared_ptr<Communicator> host, const device::CudaDevice& device, int64_t max_message_bytes,
    int64_t piece_bytes = kStagedPieceBytes);

}  // namespace pamir::comm

#endif  // PAMIR_ENGINE_COMM_STAGED_H_
