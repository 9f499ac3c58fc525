#include "client/convert.h"

namespace pamir::client {
namespace {

FinishReason FromProto(v1::FinishReason reason) {
  switch (reason) {
    case v1::FINISH_REASON_STOP:
      return FinishReason::kStop;
    case v1::FINISH_REASON_LENGTH:
      return FinishReason::kLength;
    case v1::FINISH_REASON_CANCELLED:
      return FinishReason::kCancelled;
    case v1::FINISH_REASON_ERROR:
      return FinishReason::kError;
    default:
      return FinishReason::kNone;
  }
}

WorkerState FromProto(v1::RankState state) {
  switch (state) {
    case v1::RANK_STATE_ABSENT:
      return WorkerState::kAbsent;
    case v1::RANK_STATE_JOINED:
      return WorkerState::kJoined;
    case v1::RANK_STATE_LOADING:
      return WorkerState::kLoading;
    case v1::RANK_STATE_READY:
      return WorkerState::kReady;
    case v1::RANK_STATE_LOST:
      return WorkerState::kLost;
    default:
      return WorkerState::kUnknown;
  }
}

WorkerStatus FromProto(const v1::Rank& from) {
  WorkerStatus to;
  to.rank = from.rank();
  to.state = FromProto(from.state());
  to.host = from.host();
  to.device = from.device();
  to.build = from.build();
  to.stage = from.stage();
  to.tensor_index = from.tensor_index();
  to.first_layer = from.first_layer();
  to.layers = from.layers();
  to.weight_bytes = from.weight_bytes();
  to.kv_bytes = from.kv_bytes();
  to.load_fraction = from.load_fraction();
  return to;
}

}  // namespace

v1::GenerateRequest ToProto(const GenerateParams& params) {
  v1::GenerateRequest out;
  if (params.prompt_ids.has_value()) {
    out.mutable_token_ids()->mutable_ids()->Add(params.prompt_ids->begin(),
                                                params.prompt_ids->end());
  } else {
    out.set_text(params.prompt);
  }
  v1::SamplingParams& sampling = *out.mutable_sampling();
  sampling.set_temperature(params.temperature);
  sampling.set_top_k(params.top_k);
  sampling.set_top_p(params.top_p);
  if (params.seed.has_value()) sampling.set_seed(*params.seed);
  out.set_max_tokens(params.stop.max_tokens);
  for (const std::string& stop : params.stop.stop) out.add_stop(stop);
  out.mutable_stop_token_ids()->Add(params.stop.stop_token_ids.begin(),
                                    params.stop.stop_token_ids.end());
  out.set_ignore_eos(params.stop.ignore_eos);
  out.set_logprobs(params.logprobs);
  out.set_request_id(params.request_id);
  return out;
}

GenerateChunk FromProto(const v1::GenerateChunk& chunk) {
  return {.choice = chunk.choice(),
          .text = chunk.text(),
          .token_ids = {chunk.token_ids().begin(), chunk.token_ids().end()},
          .logprobs = {chunk.logprobs().begin(), chunk.logprobs().end()}};
}

void TakeDone(const v1::GenerateDone& done, GenerateResult& result) {
  result.finish_reason = FromProto(done.finish_reason());
  result.prompt_token_ids.assign(done.prompt_token_ids().begin(), done.prompt_token_ids().end());
  result.prompt_tokens = done.usage().prompt_tokens();
  result.completion_tokens = done.usage().completion_tokens();
  result.seed = done.seed();
  result.request_id = done.request_id();
}

ScoreResult FromProto(const v1::ScoreResponse& response) {
  return {.token_ids = {response.token_ids().begin(), response.token_ids().end()},
          .logprobs = {response.logprobs().begin(), response.logprobs().end()},
          .nll = response.nll(),
          .scored_tokens = response.scored_tokens()};
}

ServerStatus FromProto(const v1::GetStatusResponse& from) {
  ServerStatus to;
  to.ready = from.ready();
  to.draining = from.draining();
  to.model = from.model();
  to.version = from.version();
  to.max_model_len = from.max_model_len();
  to.vocab_size = from.vocab_size();
  to.epoch = from.epoch();
  to.steps = from.steps();
  to.running = from.running();
  to.waiting = from.waiting();
  to.max_running = from.max_running();
  to.max_waiting = from.max_waiting();
  to.blocks_total = from.blocks_total();
  to.blocks_free = from.blocks_free();
  to.block_size = from.block_size();
  to.requests_finished = from.requests_finished();
  to.tokens_generated = from.tokens_generated();
  to.preemptions = from.preemptions();
  for (const v1::Rank& rank : from.ranks()) to.workers.push_back(FromProto(rank));
  return to;
}

}  // namespace pamir::client
