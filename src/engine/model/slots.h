// What a rank remembers between steps: for each slot its token ids, block table and sampling
// parameters. Changed only by plans (and by sampled tokens, on the first stage).
#ifndef PAMIR_ENGINE_MODEL_SLOTS_H_
#define PAMIR_ENGINE_MODEL_SLOTS_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "base/ids.h"
#include "core/flow/step_plan.h"
#include "core/spec/shard_plan.h"
#include "pamir/sampling.h"

namespace pamir::model {

// An id that was sampled on the device and has not left it.
inline constexpr TokenId kTokenOnDevice = -1;

struct Slot {
  bool used = false;
  uint64_t generation = 0;  // of this use, so that a late token of an earlier use is dropped
  std::vector<TokenId> ids;
  int32_t prompt_length = 0;
  int32_t choice = 0;
  SamplingParams sampling;
  std::vector<int32_t> blocks;
};

// A plan comes off a wire, so what it names is checked: an INTERNAL error means that coordinator
// and rank disagree, and ends the rank before it computes nonsense.
class SlotTable {
 public:
  SlotTable(const spec::EngineLimits& limits, int64_t vocab);

  // Everything in the plan up to, not including, block copies and rows.
  absl::Status Apply(const flow::StepPlan& plan);

  // The row lies in a used slot, inside the limits, and has blocks for its positions.
  absl::Status CheckRow(const flow::Row& row) const;

  const Slot& at(SlotId id) const { return slots_[id.value]; }

  // A sampled token, unless the slot has meanwhile passed to another sequence. INTERNAL: there is
  // no such token.
  absl::Status Append(SlotId id, uint64_t generation, TokenId token);
  // The same where only the device knows the token: kTokenOnDevice.
  void AppendOnDevice(SlotId id, uint64_t generation);

 private:
  absl::Status Release(SlotId id);
  absl::Status Admit(const flow::Admission& admission);
  absl::Status AppendBlock(const flow::AppendedBlock& appended);
  absl::Status ForkSlot(const flow::Fork& fork);
  absl::Status CheckSlot(SlotId id, bool used, const char* what) const;
  absl::Status CheckBlock(BlockId id) const;
  absl::Status CheckToken(TokenId token) const;

  const spec::EngineLimits limits_;
  const int64_t vocab_;
  const int64_t blocks_per_slot_max_;
  std::vector<Slot> slots_;
};

}  // namespace pamir::model

#endif  // PAMIR_ENGINE_MODEL_SLOTS_H_
