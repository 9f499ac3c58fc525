// The ports of the path: what a door may call, what a rank must offer. Doors see these and nothing
// behind them.
#ifndef PAMIR_CORE_FLOW_PORTS_H_
#define PAMIR_CORE_FLOW_PORTS_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/ids.h"
#include "core/flow/step_plan.h"
#include "core/flow/step_result.h"
#include "core/flow/text_chunk.h"
#include "core/flow/token_event.h"
#include "core/flow/token_request.h"

namespace pamir::flow {

// Receives the events of one request in order; the last one has a finish reason. Called on the
// coordinator's thread: must not block. Kept alive by the engine until that last event.
class TokenSink {
 public:
  virtual ~TokenSink() = default;
  virtual void OnToken(TokenEvent event) = 0;
};

enum class RankState : uint8_t { kAbsent, kJoined, kLoading, kReady, kLost };

struct RankStats {
  int32_t rank = 0;
  RankState state = RankState::kAbsent;
  std::string host, device, build;
  int32_t stage = 0, tensor_index = 0;
  int32_t first_layer = 0, layers = 0;
  int64_t weight_bytes = 0, kv_bytes = 0;
  double load_fraction = 0;  // 0 .. 1
};

struct EngineStats {
  bool ready = false;  // all ranks ready, requests are run
  bool draining = false;
  std::string model;
  int32_t max_model_len = 0, vocab_size = 0;
  Epoch epoch;
  uint64_t steps = 0;
  int32_t running = 0, waiting = 0, max_running = 0, max_waiting = 0;
  int32_t blocks_total = 0, blocks_free = 0, block_size = 0;
  uint64_t requests_finished = 0, tokens_generated = 0, preemptions = 0;
  std::vector<RankStats> ranks;
};

// What the doors drive. Thread-safe.
class Engine {
 public:
  virtual ~Engine() = default;

  // Takes the request, or refuses it: RESOURCE_EXHAUSTED (queue full), UNAVAILABLE (not ready,
  // draining), INVALID_ARGUMENT (can never fit). After OK the sink gets every event.
  virtual absl::Status Submit(TokenRequest request, std::shared_ptr<TokenSink> sink) = 0;

  // Ends the request within two steps; unknown ids are ignored. The sink still gets its last event.
  virtual void Cancel(SeqId id) = 0;

  // A stop string ended the text at token `index`; later tokens are dropped.
  virtual void Stop(SeqId id, int32_t choice, int32_t index) = 0;

  virtual EngineStats Stats() const = 0;
};

// Turns the tokens of one choice into text. Not thread-safe.
class TextDecoder {
 public:
  virtual ~TextDecoder() = default;

  struct Piece {
    std::string bytes;     // certain now: whole characters, never a stop string's beginning
    bool stopped = false;  // a stop string was found: the text is complete
  };
  virtual Piece Feed(TokenId token) = 0;
  // No more tokens: what was held back (an unfinished character becomes U+FFFD).
  virtual std::string Flush() = 0;
};

// The model's text. Thread-safe and immutable.
class Text {
 public:
  virtual ~Text() = default;
  // Ids of `text` (any bytes; invalid UTF-8 is INVALID_ARGUMENT), without the leading </s>.
  virtual absl::StatusOr<std::vector<TokenId>> Encode(const std::string& text) const = 0;
  // Text of the ids; special tokens give no text where skip_special. Ids out of range are an error.
  virtual absl::StatusOr<std::string> Decode(const std::vector<TokenId>& ids,
                                             bool skip_special) const = 0;
  virtual std::unique_ptr<TextDecoder> NewDecoder(std::vector<std::string> stop) const = 0;
  virtual int32_t vocab_size() const = 0;  // ids 0 .. vocab_size - 1 have text
  virtual TokenId bos() const = 0;         // the leading </s>
};

// One shard of the model: runs steps on one device. Called from one thread. After an error the rank
// is dead and says the same for ever.
class Rank {
 public:
  virtual ~Rank() = default;
  virtual absl::StatusOr<StepResult> Step(const StepPlan& plan) = 0;

  // A rank whose device works by itself can be given the next step before the last one has come
  // back: up to steps_ahead() + 1 are begun and not finished. They finish in the order in which
  // they began. Step is Begin and Finish where nothing else is begun. Other ranks leave all this.
  virtual int steps_ahead() const { return 0; }
  virtual absl::Status Begin(const StepPlan& plan) {
    begun_ = Step(plan);
    return begun_.status();
  }
  virtual absl::StatusOr<StepResult> Finish() { return std::move(begun_); }
  // Finish would not wait.
  virtual bool CanFinish() { return true; }

 private:
  absl::StatusOr<StepResult> begun_ = absl::InternalError("no step was begun");
};

}  // namespace pamir::flow

#endif  // PAMIR_CORE_FLOW_PORTS_H_
