#include "core/sched/ledger.h"

#include <algorithm>
#include <utility>

namespace pamir::sched {

Sequence* Ledger::Add(flow::TokenRequest request, int32_t context_limit, uint64_t arrival) {
  auto [it, inserted] = sequences_.try_emplace(request.id);
  if (!inserted) return nullptr;
  it->second = std::make_unique<Sequence>();
  Sequence& s = *it->second;
  s.id = request.id;
  s.arrival = arrival;
  s.ids = std::move(request.prompt);
  s.prompt_length = static_cast<int32_t>(s.ids.size());
  // A prompt that is only scored may be one longer than the context: nothing is left then.
  const int32_t left = std::max(0, context_limit - s.prompt_length);
  s.max_length = s.prompt_length + std::min(request.max_tokens, left);
  s.ids.reserve(s.max_length);
  s.sampling = request.sampling;
  s.stop_token_ids = std::move(request.stop_token_ids);
  s.ignore_eos = request.ignore_eos;
  s.score = request.prompt_logprobs;
  s.deadline = request.deadline;
  return &s;
}

Sequence* Ledger::Find(SeqId id) {
  const auto it = sequences_.find(id);
  return it == sequences_.end() ? nullptr : it->second.get();
}

void Ledger::Remove(SeqId id) { sequences_.erase(id); }

}  // namespace pamir::sched
