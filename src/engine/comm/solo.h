// A group of one rank: nothing moves.
#ifndef PAMIR_ENGINE_COMM_SOLO_H_
#define PAMIR_ENGINE_COMM_SOLO_H_

#include <memory>

#include "engine/comm/communicator.h"
#include "engine/comm/operation.h"

namespace pamir::comm {

// group.size() is 1. cuda: null for a rank on a CPU; outlives the communicator.
std::unique_ptr<Communicator> SoloCommunicator(GroupInfo group,
                                               const device::CudaDevice* cuda = nullptr);

}  // namespace pamir::comm

#endif  // PAMIR_ENGINE_COMM_SOLO_H_
