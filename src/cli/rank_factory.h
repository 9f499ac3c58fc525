// Builds a worker's rank: opens the weights, connects to the other ranks, loads its slice.
#ifndef PAMIR_CLI_RANK_FACTORY_H_
#define PAMIR_CLI_RANK_FACTORY_H_

#include "cli/options.h"
#include "cluster/worker/worker.h"

namespace pamir::cli {

worker::RankFactory MakeRankFactory(const WorkerFlags& flags);

}  // namespace pamir::cli

#endif  // PAMIR_CLI_RANK_FACTORY_H_
