#ifndef PAMIR_ENGINE_COMM_CONNECT_H_
#define PAMIR_ENGINE_COMM_CONNECT_H_

#include "absl/status/statusor.h"
#include "engine/comm/communicator.h"
#include "engine/comm/nccl_api.h"

namespace pamir::comm {

// ConnectGroups, with what this rank knows of NCCL: the library's table, or why there is none.
absl::StatusOr<Groups> ConnectGroupsWith(const absl::StatusOr<const NcclApi*>& nccl,
                                         const GroupOptions& options, const ExchangeFn& exchange);

}  // namespace pamir::comm

#endif  // PAMIR_ENGINE_COMM_CONNECT_H_
