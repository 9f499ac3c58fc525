#include "engine/model/slots.h"

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/units.h"

namespace pamir::model {

SlotTable::SlotTable(const spec::EngineLimits& limits, int64_t vocab)
    : limits_(limits),
      vocab_(vocab),
      blocks_per_slot_max_(CeilDiv(limits.max_model_len, limits.block_size)),
      slots_(limits.max_num_seqs) {
  for (Slot& slot : slots_) {  // all memory now, none while serving
    slot.ids.reserve(limits.max_model_len + 1);
    slot.blocks.reserve(blocks_per_slot_max_);
  }
}

absl::Status SlotTable::CheckSlot(SlotId id, bool used, const char* what) const {
  if (id.value < 0 || id.value >= limits_.max_num_seqs) {
    return absl::InternalError(
        absl::StrCat("plan: ", what, " names slot ", id.value, " of ", limits_.max_num_seqs));
  }
  if (slots_[id.value].used != used) {
    return absl::InternalError(absl::StrCat("plan: ", what, " names slot ", id.value, ", which is ",
                                            used ? "free" : "in use"));
  }
  return absl::OkStatus();
}

absl::Status SlotTable::CheckBlock(BlockId id) const {
  if (id.value >= 0 && id.value < limits_.num_blocks) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("plan: block ", id.value, " of a pool of ", limits_.num_blocks));
}

absl::Status SlotTable::CheckToken(TokenId token) const {
  if (token >= 0 && token < vocab_) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("plan: token ", token, " of ", vocab_));
}

absl::Status SlotTable::Apply(const flow::StepPlan& plan) {
  for (const SlotId id : plan.releases) PAMIR_RETURN_IF_ERROR(Release(id));
  for (const flow::Admission& a : plan.admissions) PAMIR_RETURN_IF_ERROR(Admit(a));
  for (const flow::ForcedToken& forced : plan.forced_tokens) {
    PAMIR_RETURN_IF_ERROR(CheckSlot(forced.slot, true, "a forced token"));
    PAMIR_RETURN_IF_ERROR(CheckToken(forced.token));
    std::vector<TokenId>& ids = slots_[forced.slot.value].ids;
    if (static_cast<int64_t>(ids.size()) > limits_.max_model_len) {
      return absl::InternalError("plan: a forced token goes past the context");
    }
    ids.push_back(forced.token);
  }
  for (const flow::AppendedBlock& a : plan.appended_blocks) PAMIR_RETURN_IF_ERROR(AppendBlock(a));
  for (const flow::Fork& fork : plan.forks) PAMIR_RETURN_IF_ERROR(ForkSlot(fork));
  for (const flow::BlockCopy& copy : plan.block_copies) {
    PAMIR_RETURN_IF_ERROR(CheckBlock(copy.from));
    PAMIR_RETURN_IF_ERROR(CheckBlock(copy.to));
    if (copy.from == copy.to) return absl::InternalError("plan: a block is copied onto itself");
  }
  return absl::OkStatus();
}

absl::Status SlotTable::Release(SlotId id) {
  PAMIR_RETURN_IF_ERROR(CheckSlot(id, true, "a release"));
  Slot& slot = slots_[id.value];
  slot.used = false;
  slot.ids.clear();
  slot.blocks.clear();
  return absl::OkStatus();
}

absl::Status SlotTable::Admit(const flow::Admission& admission) {
  PAMIR_RETURN_IF_ERROR(CheckSlot(admission.slot, false, "an admission"));
  const int64_t length = static_cast<int64_t>(admission.ids.size());
  if (length < 1 || length > limits_.max_model_len + 1 || admission.prompt_length < 1 ||
      admission.prompt_length > length) {
    return absl::InternalError(
        absl::StrCat("plan: admission of ", length, " ids, prompt ", admission.prompt_length));
  }
  if (static_cast<int64_t>(admission.blocks.size()) > blocks_per_slot_max_) {
    return absl::InternalError("plan: an admission brings more blocks than the context has");
  }
  for (const TokenId token : admission.ids) PAMIR_RETURN_IF_ERROR(CheckToken(token));
  Slot& slot = slots_[admission.slot.value];
  for (const BlockId block : admission.blocks) {
    PAMIR_RETURN_IF_ERROR(CheckBlock(block));
    slot.blocks.push_back(block.value);
  }
  slot.used = true;
  ++slot.generation;
  slot.ids = admission.ids;
  slot.prompt_length = admission.prompt_length;
  slot.choice = admission.choice;
  slot.sampling = admission.sampling;
  return absl::OkStatus();
}

absl::Status SlotTable::AppendBlock(const flow::AppendedBlock& appended) {
  PAMIR_RETURN_IF_ERROR(CheckSlot(appended.slot, true, "a block"));
  PAMIR_RETURN_IF_ERROR(CheckBlock(appended.block));
  Slot& slot = slots_[appended.slot.value];
  if (static_cast<int64_t>(slot.blocks.size()) >= blocks_per_slot_max_) {
    return absl::InternalError("plan: a slot grows past the context");
  }
  slot.blocks.push_back(appended.block.value);
  return absl::OkStatus();
}

absl::Status SlotTable::ForkSlot(const flow::Fork& fork) {
  PAMIR_RETURN_IF_ERROR(CheckSlot(fork.from, true, "a fork"));
  PAMIR_RETURN_IF_ERROR(CheckSlot(fork.to, false, "a fork"));
  const Slot& from = slots_[fork.from.value];
  Slot& to = slots_[fork.to.value];
  const uint64_t generation = to.generation + 1;
  to = from;
  to.generation = generation;
  to.choice = fork.choice;
  return absl::OkStatus();
}

absl::Status SlotTable::CheckRow(const flow::Row& row) const {
  PAMIR_RETURN_IF_ERROR(CheckSlot(row.slot, true, "a row"));
  const Slot& slot = slots_[row.slot.value];
  const int64_t covered = static_cast<int64_t>(slot.blocks.size()) * limits_.block_size;
  if (row.from < 0 || row.count < 1 || row.count > limits_.max_num_batched_tokens ||
      int64_t{row.from} + row.count > std::min<int64_t>(covered, limits_.max_model_len)) {
    return absl::InternalError(absl::StrCat("plan: row of positions ", row.from, " + ", row.count,
                                            " in slot ", row.slot.value, " with blocks for ",
                                            covered));
  }
  return absl::OkStatus();
}

absl::Status SlotTable::Append(SlotId id, uint64_t generation, TokenId token) {
  if (token < 0 || token >= vocab_) {
    return absl::InternalError(absl::StrCat("a sampled id is ", token));
  }
  Slot& slot = slots_[id.value];
  if (slot.used && slot.generation == generation) slot.ids.push_back(token);
  return absl::OkStatus();
}

void SlotTable::AppendOnDevice(SlotId id, uint64_t generation) {
  Slot& slot = slots_[id.value];
  if (slot.used && slot.generation == generation) slot.ids.push_back(kTokenOnDevice);
}

}  // namespace pamir::model
