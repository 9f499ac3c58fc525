// A rank without a model, for tests. It tracks slots, block tables and the KV cache from the plans
// exactly as a real rank does and refuses whatever a real rank could not do or would compute
// wrongly. Its tokens are a hash of what it reads back from its cache, so a stream depends on the
// ids of its own sequence alone, unless the plans are wrong.
#ifndef PAMIR_TESTS_SUPPORT_FAKE_RANK_H_
#define PAMIR_TESTS_SUPPORT_FAKE_RANK_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/flow/ports.h"

namespace pamir::testing {

struct FakeRankOptions {
  int32_t block_size = 16;
  int32_t num_blocks = 0;
  int32_t max_num_seqs = 64;
  int32_t max_num_batched_tokens = 2048;
  int32_t vocab_size = 1000;  // of the sampled tokens; id 2 is the usual end token
};

// The token behind `ids`, in [0, vocab_size), and the log-probability of `token` behind `ids`.
TokenId FakeToken(std::span<const TokenId> ids, uint64_t seed, int32_t vocab_size);
float FakeLogprob(std::span<const TokenId> ids, TokenId token);

// The first `count` tokens behind `prompt`, as a sequence alone gets them (no end token stops it).
std::vector<TokenId> FakeStream(std::vector<TokenId> prompt, uint64_t seed, int32_t vocab_size,
                                int32_t count);

class FakeRank : public flow::Rank {
 public:
  explicit FakeRank(const FakeRankOptions& options);

  // INTERNAL says which rule the plan broke. A larger epoch starts with an empty rank. Forks, block
  // copies and micro-batches other than 0 are refused: the scheduler does not plan them.
  absl::StatusOr<flow::StepResult> Step(const flow::StepPlan& plan) override;

  int32_t live_slots() const;
  int32_t owned_blocks() const;  // by live slots
  uint64_t steps() const { return steps_; }

 private:
  struct Slot {
    std::vector<TokenId> ids;
    int32_t prompt_length = 0;
    SamplingParams sampling;
    std::vector<BlockId> blocks;
    int32_t computed = 0;
    bool in_step = false;  // has a row in the current step
  };

  absl::Status Run(const flow::StepPlan& plan, flow::StepResult* result);
  absl::Status CheckOrder(const flow::StepPlan& plan);
  absl::Status Change(const flow::StepPlan& plan);
  absl::Status Release(SlotId id);
  absl::Status Admit(const flow::Admission& admission);
  absl::Status Own(SlotId id, BlockId block);
  absl::Status CheckRow(const flow::Row& row) const;
  absl::Status Compute(const flow::Row& row, flow::StepResult* result);
  std::vector<TokenId> ReadCache(const Slot& slot) const;
  TokenId& CacheAt(const Slot& slot, int32_t position);
  bool Live(SlotId id) const;
  Slot& At(SlotId id) { return *slots_[id.value]; }

  const FakeRankOptions options_;
  std::vector<std::optional<Slot>> slots_;
  std::vector<int32_t> owner_;  // by block: its slot, or -1
  std::vector<TokenId> cache_;  // [num_blocks][block_size]
  Epoch epoch_;
  StepId step_;
  uint64_t steps_ = 0;
  absl::Status dead_;
};

}  // namespace pamir::testing

#endif  // PAMIR_TESTS_SUPPORT_FAKE_RANK_H_
