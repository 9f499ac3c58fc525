// The token ledger: what must survive the ranks. From prompt, emitted ids and parameters a request
// is replayed after a preemption or in a new epoch, and its stream goes on as if nothing happened.
#ifndef PAMIR_CORE_SCHED_LEDGER_H_
#define PAMIR_CORE_SCHED_LEDGER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "base/ids.h"
#include "core/flow/token_request.h"
#include "pamir/sampling.h"

namespace pamir::sched {

// One request that has not finished.
struct Sequence {
  // The ledger's part.
  SeqId id;
  uint64_t arrival = 0;      // grows by one with each accepted request
  std::vector<TokenId> ids;  // prompt, then emitted
  int32_t prompt_length = 0;
  int32_t max_length = 0;  // of ids: max_tokens and the context limit, whichever is less
  SamplingParams sampling;
  std::vector<TokenId> stop_token_ids;
  bool ignore_eos = false;
  bool score = false;  // prompt log-probabilities are wanted
  absl::Time deadline = absl::InfiniteFuture();

  // Log-probabilities of prompt[1 ..], as far as they have come back; kept once complete.
  std::vector<float> prompt_logprobs;

  // What the ranks hold of it, with the steps in flight; nothing while it waits.
  SlotId slot{-1};
  uint64_t admission = 0;  // grows with each: a slot's next user has another
  int32_t computed = 0;    // positions 0 .. computed - 1 are in the KV cache
  int32_t pending = 0;     // tokens that are being sampled
  std::vector<BlockId> blocks;

  bool running() const { return slot.value >= 0; }
  int32_t length() const { return static_cast<int32_t>(ids.size()); }
  // With what is being sampled. It may turn out less, where one of these ids ends the stream.
  int32_t coming_length() const { return length() + pending; }
  int32_t emitted() const { return length() - prompt_length; }
  bool generates() const { return max_length > prompt_length; }
  // Scores of the prompt have not come back.
  bool scoring() const {
    return score && static_cast<int32_t>(prompt_logprobs.size()) < prompt_length - 1;
  }
  // Its next row is one emitted token.
  bool decodes() const {
    return computed >= prompt_length && computed + 1 == coming_length() &&
           coming_length() < max_length;
  }
  // Positions that its next rows compute, from `computed` on: of prompts that are scored, of
  // prompts, of emitted ids that are replayed. What decodes has none.
  int32_t chunk_end() const {
    if (scoring() && computed < prompt_length - 1) return prompt_length - 1;
    if (!generates() || computed >= coming_length() || decodes()) return computed;
    return computed < prompt_length ? prompt_length : length();
  }
  // Positions to compute before the next token can be sampled. A prompt that is only scored does
  // not need its last id in the cache.
  int32_t target() const { return generates() ? length() : prompt_length - 1; }
};

// Owns the sequences. Pointers stay valid until Remove.
class Ledger {
 public:
  // Null where the id is in use. max_length may be prompt length up to context_limit.
  Sequence* Add(flow::TokenRequest request, int32_t context_limit, uint64_t arrival);
  Sequence* Find(SeqId id);  // null where unknown
  void Remove(SeqId id);

  bool Contains(SeqId id) const { return sequences_.contains(id); }
  size_t size() const { return sequences_.size(); }
  bool empty() const { return sequences_.empty(); }

 private:
  absl::flat_hash_map<SeqId, std::unique_ptr<Sequence>> sequences_;
};

}  // namespace pamir::sched

#endif  // PAMIR_CORE_SCHED_LEDGER_H_
