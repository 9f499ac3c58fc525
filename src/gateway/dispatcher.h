// Where the doors meet: numbers requests, draws seeds, counts calls, owns the text pool.
#ifndef PAMIR_GATEWAY_DISPATCHER_H_
#define PAMIR_GATEWAY_DISPATCHER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gateway/gate.h"
#include "gateway/generate_call.h"
#include "gateway/score_call.h"
#include "gateway/text_pool.h"
#include "pamir/limits.h"

namespace pamir::gateway {

struct DispatcherOptions {
  int text_threads = 2;
  int max_active_calls = kMaxActiveCalls;
  size_t max_queued_text_jobs = kMaxQueuedTextJobs;
  size_t max_unread_bytes = kMaxUnreadBytes;  // of each stream
};

// Thread-safe. Outlives its calls; engine and text outlive it.
class Dispatcher {
 public:
  Dispatcher(const DispatcherOptions& options, flow::Engine* engine, const flow::Text* text);

  Gate& gate() { return gate_; }
  flow::Engine& engine() { return *backend_.engine; }
  const flow::Text& text() const { return *backend_.text; }

  // A call that is to be Started; it gets a SeqId of its own.
  std::shared_ptr<GenerateCall> NewGenerate(flow::GenerateRequest request, ChunkWriter* writer);
  std::shared_ptr<ScoreCall> NewScore(flow::GenerateRequest request, ScoreCall::Done done);

  // On the text pool, for checked input; `done` is called once, maybe at once (queue full).
  void Tokenize(std::string text, bool add_bos,
                const std::function<void(Outcome<std::vector<TokenId>>)>& done);
  void Detokenize(std::vector<TokenId> ids, bool skip_special,
                  const std::function<void(Outcome<std::string>)>& done);

  static uint64_t DrawSeed();

 private:
  SeqId NextId() { return SeqId(next_id_.fetch_add(1)); }

  const DispatcherOptions options_;
  Gate gate_;
  const Backend backend_;  // before the pool, whose last jobs use it
  TextPool pool_;
  std::atomic<uint64_t> next_id_{1};
};

}  // namespace pamir::gateway

#endif  // PAMIR_GATEWAY_DISPATCHER_H_
