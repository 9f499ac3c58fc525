// A Score request of any door: the prompt's log-probabilities, nothing generated.
#ifndef PAMIR_GATEWAY_SCORE_CALL_H_
#define PAMIR_GATEWAY_SCORE_CALL_H_

#include <functional>
#include <vector>

#include "gateway/engine_call.h"

namespace pamir::gateway {

struct ScoreReply {
  std::vector<TokenId> ids;      // n
  std::vector<double> logprobs;  // n - 1: logprobs[i] belongs to ids[i + 1]
  double nll = 0;                // -(sum of logprobs), nats
};

class ScoreCall final : public EngineCall {
 public:
  // `done` is called once, on any thread, with the answer or why there is none.
  using Done = std::function<void(Outcome<ScoreReply>)>;
  ScoreCall(const Backend& backend, flow::GenerateRequest request, Done done);

 private:
  void OnEvents(std::vector<flow::TokenEvent> events) override;
  void OnFailed(const ApiError& error) override;

  const Done done_;
};

}  // namespace pamir::gateway

#endif  // PAMIR_GATEWAY_SCORE_CALL_H_
