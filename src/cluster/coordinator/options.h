// How a cluster is run.
#ifndef PAMIR_CLUSTER_COORDINATOR_OPTIONS_H_
#define PAMIR_CLUSTER_COORDINATOR_OPTIONS_H_

#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "core/flow/load_request.h"
#include "core/sched/options.h"

namespace pamir::coordinator {

struct CoordinatorOptions {
  // What every rank loads; rank, ranks_on_host and epoch are filled in for each. As many workers
  // are waited for as load.plan has ranks.
  flow::LoadRequest load;
  std::string build_id;  // workers of another build are refused

  int32_t max_waiting = 1024;  // requests that wait; more are refused
  int64_t max_waiting_tokens = int64_t{1} << 22;

  absl::Duration join_timeout = absl::Minutes(2);  // for all workers to come
  absl::Duration load_timeout = absl::Hours(1);
  // From when the first rank waits in an exchange and the missing one gave no sign of loading.
  absl::Duration exchange_timeout = absl::Minutes(1);
  absl::Duration heartbeat_timeout = absl::Seconds(5);
  absl::Duration step_timeout = absl::Minutes(2);    // of a rank's answer
  absl::Duration drain_timeout = absl::Seconds(30);  // for what runs to finish
  absl::Duration leave_timeout = absl::Seconds(3);   // for the workers to leave
  bool spin = true;  // wait for a step's answer without sleeping, for up to 50 microseconds
};

// The next step waits at the ranks before the last one has come back.
inline constexpr int32_t kStepsInFlight = 2;

// The scheduler's queue has more room than the door gives out, so that what was taken always fits,
// also when running requests go back to the queue.
inline sched::SchedulerOptions SchedulerOptionsOf(const CoordinatorOptions& options) {
  const spec::EngineLimits& limits = options.load.plan.limits;
  return {.block_size = limits.block_size,
          .num_blocks = limits.num_blocks,
          .max_num_seqs = limits.max_num_seqs,
          .max_num_batched_tokens = limits.max_num_batched_tokens,
          .max_model_len = limits.max_model_len,
          .max_waiting = options.max_waiting + limits.max_num_seqs,
          .max_waiting_tokens =
              options.max_waiting_tokens + int64_t{limits.max_num_seqs} * limits.max_model_len,
          .max_steps_in_flight = kStepsInFlight,
          .eos = options.load.model.eos};
}

}  // namespace pamir::coordinator

#endif  // PAMIR_CLUSTER_COORDINATOR_OPTIONS_H_
