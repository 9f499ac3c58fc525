// Hop 4: one step of every rank, as data. Made by sched, sent by wire to every rank alike.
//
// A rank keeps, for each slot: its token ids so far (prompt and emitted), its block table and its
// sampling parameters. A plan changes them in this order: releases, admissions, forced tokens,
// appended blocks, forks, block copies; then it computes `rows`. A decode row carries no token: the
// last stage hands the ids it sampled to the first stage itself.
#ifndef PAMIR_CORE_FLOW_STEP_PLAN_H_
#define PAMIR_CORE_FLOW_STEP_PLAN_H_

#include <cstdint>
#include <vector>

#include "base/ids.h"
#include "pamir/sampling.h"

namespace pamir::flow {

// A choice takes a free slot. ids holds the prompt, and behind it what was already emitted where a
// sequence is replayed (preemption, a new epoch).
struct Admission {
  SlotId slot;
  std::vector<TokenId> ids;
  int32_t prompt_length = 0;  // ids[0 .. prompt_length) is the prompt
  int32_t choice = 0;
  SamplingParams sampling;
  std::vector<BlockId> blocks;  // for positions 0 .. blocks.size() * block_size - 1

  friend bool operator==(const Admission&, const Admission&);
};

// One more block at the end of a slot's table.
struct AppendedBlock {
  SlotId slot;
  BlockId block;
  friend bool operator==(const AppendedBlock&, const AppendedBlock&) = default;
};

// slot `to` begins as a copy of slot `from` (ids, block table), as choice `choice`.
struct Fork {
  SlotId from;
  SlotId to;
  int32_t choice = 0;
  friend bool operator==(const Fork&, const Fork&) = default;
};

struct BlockCopy {
  BlockId from;
  BlockId to;
  friend bool operator==(const BlockCopy&, const BlockCopy&) = default;
};

// Appends `token` to the slot's ids as if it had been sampled.
struct ForcedToken {
  SlotId slot;
  TokenId token = 0;
  friend bool operator==(const ForcedToken&, const ForcedToken&) = default;
};

enum class RowKind : uint8_t { kPrompt, kEmitted };
enum class RowWants : uint8_t {
  kNothing,         // only fill the KV cache
  kSample,          // sample the token behind the row's last position
  kPromptLogprobs,  // log-probability of the slot's next id behind each position of the row
};

// `count` consecutive positions of one slot, from position `from`: tokens ids[from .. from+count).
struct Row {
  SlotId slot;
  int32_t from = 0;
  int32_t count = 1;
  RowKind kind = RowKind::kEmitted;
  RowWants wants = RowWants::kSample;
  friend bool operator==(const Row&, const Row&) = default;
};

struct StepPlan {
  Epoch epoch;
  StepId step;
  int32_t micro_batch = 0;
  std::vector<SlotId> releases;
  std::vector<Admission> admissions;
  std::vector<ForcedToken> forced_tokens;
  std::vector<AppendedBlock> appended_blocks;
  std::vector<Fork> forks;
  std::vector<BlockCopy> block_copies;
  std::vector<Row> rows;

  friend bool operator==(const StepPlan&, const StepPlan&);
};

inline bool SameSampling(const SamplingParams& a, const SamplingParams& b) {
  return a.temperature == b.temperature && a.top_k == b.top_k && a.top_p == b.top_p &&
         a.seed == b.seed;
}
inline bool operator==(const Admission& a, const Admission& b) {
  return a.slot == b.slot && a.ids == b.ids && a.prompt_length == b.prompt_length &&
         a.choice == b.choice && SameSampling(a.sampling, b.sampling) && a.blocks == b.blocks;
}
inline bool operator==(const StepPlan& a, const StepPlan& b) {
  return a.epoch == b.epoch && a.step == b.step && a.micro_batch == b.micro_batch &&
         a.releases == b.releases && a.admissions == b.admissions &&
         a.forced_tokens == b.forced_tokens && a.appended_blocks == b.appended_blocks &&
         a.forks == b.forks && a.block_copies == b.block_copies && a.rows == b.rows;
}

}  // namespace pamir::flow

#endif  // PAMIR_CORE_FLOW_STEP_PLAN_H_
