// A client of a Pamir server, over gRPC. Standard library only: what it is made of stays in the
// library pamir_client.
//
//   auto client = pamir::Client::Connect("127.0.0.1:50051", std::chrono::seconds(5));
//   if (!client.ok()) ...client.error.message...
//   pamir::GenerateParams params;
//   params.prompt = "Once upon a time";
//   auto result = client.value->Generate(params, [](const pamir::GenerateChunk& chunk) {
//     std::cout << chunk.text << std::flush;
//   });
#ifndef PAMIR_CLIENT_H_
#define PAMIR_CLIENT_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "pamir/sampling.h"

namespace pamir {

// Why a call failed. `code` is the gRPC status code's canonical name ("INVALID_ARGUMENT",
// "UNAVAILABLE"); empty when nothing failed. `message` is for people.
struct ClientError {
  std::string code;
  std::string message;
};

template <typename T>
struct Result {
  T value{};  // where !ok(): default, or as far as the call came (Generate)
  ClientError error;
  bool ok() const { return error.code.empty(); }
};

struct CallOptions {
  std::optional<std::chrono::milliseconds> timeout;  // none: waits for ever
  std::stop_token stop;                              // request_stop() cancels the call
};

struct GenerateParams {
  std::string prompt;                              // UTF-8; used where prompt_ids is absent
  std::optional<std::vector<int32_t>> prompt_ids;  // taken as they are, no leading token is added
  float temperature = 1.0f;
  int32_t top_k = 0;
  float top_p = 1.0f;
  std::optional<uint64_t> seed;  // absent: the server draws one
  StopRules stop;                // max_tokens, stop strings, ...
  bool logprobs = false;
  std::string request_id;  // echoed
};

struct GenerateChunk {
  int32_t choice = 0;
  std::string text;  // whole UTF-8 characters, maybe none
  std::vector<int32_t> token_ids;
  std::vector<float> logprobs;  // one a token, where asked for
};

// Called on the thread that called Generate, in order.
using ChunkCallback = std::function<void(const GenerateChunk&)>;

struct GenerateResult {
  std::string text;
  std::vector<int32_t> token_ids;
  std::vector<float> logprobs;
  FinishReason finish_reason = FinishReason::kNone;
  std::vector<int32_t> prompt_token_ids;
  int32_t prompt_tokens = 0;
  int32_t completion_tokens = 0;
  uint64_t seed = 0;
  std::string request_id;
};

struct ScoreResult {
  std::vector<int32_t> token_ids;  // n of them
  std::vector<double> logprobs;    // n - 1: logprobs[i] belongs to token_ids[i + 1]
  double nll = 0;                  // -(sum of logprobs), in nats
  int32_t scored_tokens = 0;       // n - 1
};

enum class WorkerState : uint8_t { kUnknown, kAbsent, kJoined, kLoading, kReady, kLost };
const char* Name(WorkerState state);  // "absent", "joined", ...

struct WorkerStatus {
  int32_t rank = 0;
  WorkerState state = WorkerState::kUnknown;
  std::string host, device, build;
  int32_t stage = 0, tensor_index = 0;
  int32_t first_layer = 0, layers = 0;
  int64_t weight_bytes = 0, kv_bytes = 0;
  double load_fraction = 0;  // 0 .. 1
};

// See proto/pamir/v1/cluster.proto for each field.
struct ServerStatus {
  bool ready = false, draining = false;
  std::string model, version;
  int32_t max_model_len = 0, vocab_size = 0;
  uint64_t epoch = 0, steps = 0;
  int32_t running = 0, waiting = 0, max_running = 0, max_waiting = 0;
  int32_t blocks_total = 0, blocks_free = 0, block_size = 0;
  uint64_t requests_finished = 0, tokens_generated = 0, preemptions = 0;
  std::vector<WorkerStatus> workers;
};

// One connection; copies share it. Thread-safe: any number of calls at a time. Calls block.
class Client {
 public:
  // Waits up to `wait` for the server at "host:port" to answer; UNAVAILABLE when it does not.
  static Result<std::optional<Client>> Connect(const std::string& target,
                                               std::chrono::milliseconds wait);

  // On failure `value` holds what had come until then, with finish_reason kCancelled (cancelled, or
  // out of time) or kError. on_chunk may be null.
  Result<GenerateResult> Generate(const GenerateParams& params, const ChunkCallback& on_chunk = {},
                                  const CallOptions& options = {}) const;
  Result<ScoreResult> Score(const std::string& text, const CallOptions& options = {}) const;
  Result<ScoreResult> ScoreIds(const std::vector<int32_t>& ids,
                               const CallOptions& options = {}) const;
  Result<std::vector<int32_t>> Tokenize(const std::string& text, bool add_bos,
                                        const CallOptions& options = {}) const;
  Result<std::string> Detokenize(const std::vector<int32_t>& ids, bool skip_special,
                                 const CallOptions& options = {}) const;
  Result<ServerStatus> Status(const CallOptions& options = {}) const;

 private:
  struct Impl;
  explicit Client(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace pamir

#endif  // PAMIR_CLIENT_H_
