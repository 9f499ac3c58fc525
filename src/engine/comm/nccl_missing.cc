// In builds without CUDA's and NCCL's headers.
#include "engine/comm/nccl_api.h"

namespace pamir::comm {

absl::StatusOr<const NcclApi*> OpenNccl(const std::string&) {
  return absl::NotFoundError(
      "this build has no NCCL (it is built in where CUDA's and NCCL's headers are found)");
}

}  // namespace pamir::comm
