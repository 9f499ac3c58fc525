// The transport between GPUs: NCCL moves the bytes, our own kernel adds them, in rank order.
// ncclAllReduce would add in an order that depends on the size of the message and on the links.
#ifndef PAMIR_ENGINE_COMM_NCCL_H_
#define PAMIR_ENGINE_COMM_NCCL_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engine/comm/communicator.h"
#include "engine/comm/nccl_api.h"
#include "engine/comm/operation.h"
#include "engine/device/cuda_device.h"

namespace pamir::comm {

// The same on all ranks.
struct NcclSizes {
  // Up to here each rank gets all parts and sums all of them: one step instead of two.
  int64_t direct_bytes = 256 * 1024;
  // Larger sums go by blocks of this size, so that the scratch does not grow with them.
  int64_t block_bytes = 32 * 1024 * 1024;
};

// Device memory that StartNccl takes for itself; NCCL takes more.
int64_t NcclScratchBytes(int ranks, int64_t max_message_bytes, const NcclSizes& sizes = {});

// Joins the group and moves a little between all its ranks, so that what NCCL makes at first use is
// made now. All ranks at the same time, each on a GPU of its own that the calling thread uses. id:
// MakeNcclId of the group's first rank (nccl_comm.h).
//
// Operations are queued, and on the stream a Send waits for its Recv: ranks that send to each other
// at the same time do so in an order in which some rank receives. Sizes that do not match are not
// noticed: the stream waits, and Abort ends it. So does a peer that dies: whoever waits for the
// stream has a deadline of its own and aborts.
absl::StatusOr<std::unique_ptr<Communicator>> StartNccl(const NcclApi& api, const GroupInfo& group,
                                                        const device::CudaDevice& device,
                                                        const std::string& id,
                                                        const NcclSizes& sizes = {});

}  // namespace pamir::comm

#endif  // PAMIR_ENGINE_COMM_NCCL_H_
