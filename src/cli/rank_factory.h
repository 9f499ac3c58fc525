// Builds a worker's rank: opens the weights, connects to the other ranks, loads its slice.
#ifndef PAMIR_CLI_RANK_FACTORY_H_
#define PAMIR_CLI_RANK_FACTORY_H_

#include "cli/device_choice.h"
#include "cli/options.h"
#include "cluster/worker/worker.h"

namespace pamir::cli {

worker::RankFactory MakeRankFactory(const WorkerFlags& flags, const WorkerDevice& device);

}  // namespace pamir::cli

#endif  // PAMIR_CLI_RANK_FACTORY_H_
