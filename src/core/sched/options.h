// The scheduler's limits.
#ifndef PAMIR_CORE_SCHED_OPTIONS_H_
#define PAMIR_CORE_SCHED_OPTIONS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "base/ids.h"

namespace pamir::sched {

struct SchedulerOptions {
  int32_t block_size = 16;                // positions of a KV block
  int32_t num_blocks = 0;                 // of the KV pool; must be set
  int32_t max_num_seqs = 64;              // running at once = slots
  int32_t max_num_batched_tokens = 2048;  // of a step, over all rows
  int32_t max_model_len = 2048;           // ids of a sequence, prompt and emitted
  int32_t max_waiting = 1024;             // requests in the waiting queue
  // Ids in the waiting queue, all requests together. One request alone is always let in.
  int64_t max_waiting_tokens = int64_t{1} << 22;
  int32_t max_steps_in_flight = 1;  // 2: the next step is planned while one is computed
  TokenId eos = 2;                  // ends a stream unless ignore_eos; -1: the model has none
};

// INVALID_ARGUMENT names the field that is not positive.
absl::Status CheckOptions(const SchedulerOptions& options);

// Ids that a sequence may have: max_model_len, or what the whole pool holds where that is less. So
// a sequence that runs alone can always go on, and preemption always makes room for the oldest.
int32_t ContextLimit(const SchedulerOptions& options);

}  // namespace pamir::sched

#endif  // PAMIR_CORE_SCHED_OPTIONS_H_
