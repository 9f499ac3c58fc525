#include "core/sched/options.h"

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "absl/strings/str_cat.h"

namespace pamir::sched {

absl::Status CheckOptions(const SchedulerOptions& o) {
  const std::initializer_list<std::pair<const char*, int64_t>> fields = {
      {"block_size", o.block_size},
      {"num_blocks", o.num_blocks},
      {"max_num_seqs", o.max_num_seqs},
      {"max_num_batched_tokens", o.max_num_batched_tokens},
      {"max_model_len", o.max_model_len},
      {"max_waiting", o.max_waiting},
      {"max_waiting_tokens", o.max_waiting_tokens},
      {"max_steps_in_flight", o.max_steps_in_flight}};
  for (const auto& [name, value] : fields) {
    if (value < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("scheduler: ", name, " is ", value, "; it must be at least 1"));
    }
  }
  return absl::OkStatus();
}

int32_t ContextLimit(const SchedulerOptions& o) {
  return static_cast<int32_t>(
      std::min<int64_t>(o.max_model_len, int64_t{o.num_blocks} * o.block_size));
}

}  // namespace pamir::sched
