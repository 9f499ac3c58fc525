// How a request wants its tokens chosen, and when it wants to stop. Standard library only: shared
// by C++ clients, the doors and the engine.
#ifndef PAMIR_SAMPLING_H_
#define PAMIR_SAMPLING_H_

#include <cstdint>
#include <string>
#include <vector>

namespace pamir {

struct SamplingParams {
  // 0 = greedy: the most likely token, the lowest id among equals. Else logits are divided by it.
  float temperature = 1.0f;
  // Keep the k most likely tokens; 0 = all.
  int32_t top_k = 0;
  // Keep the smallest set of most likely tokens whose probabilities sum to at least top_p; 1 = all.
  float top_p = 1.0f;
  // Same seed, same request: same tokens. The door draws one where the client gave none.
  uint64_t seed = 0;
};

struct StopRules {
  int32_t max_tokens = 16;              // 0 = none: only useful with prompt log-probabilities
  std::vector<std::string> stop;        // the text ends before the first of these
  std::vector<int32_t> stop_token_ids;  // beside the model's own end token
  bool ignore_eos = false;              // go on after the end token (benchmarks)
};

enum class FinishReason : uint8_t {
  kNone,       // not finished
  kStop,       // end token, stop token id or stop string
  kLength,     // max_tokens or the context is full
  kCancelled,  // by the client, its deadline or a disconnect
  kError,      // the server could not go on
};

// "stop", "length", "cancelled", "error"; "" for kNone.
const char* Name(FinishReason reason);

}  // namespace pamir

#endif  // PAMIR_SAMPLING_H_
