#include "gateway/grpc_convert.h"

#include <utility>

#include "pamir/version.h"

namespace pamir::gateway {
namespace {

// GenerateRequest and ScoreRequest have the same oneof.
template <typename Request>
PromptInput TakePrompt(Request& request) {
  PromptInput prompt;
  if (request.has_token_ids()) {
    const auto& ids = request.token_ids().ids();
    prompt.ids.emplace(ids.begin(), ids.end());
  } else if (request.has_text()) {
    prompt.text = std::move(*request.mutable_text());
  }
  return prompt;
}

v1::FinishReason ToProto(FinishReason reason) {
  switch (reason) {
    case FinishReason::kNone:
      return v1::FINISH_REASON_UNSPECIFIED;
    case FinishReason::kStop:
      return v1::FINISH_REASON_STOP;
    case FinishReason::kLength:
      return v1::FINISH_REASON_LENGTH;
    case FinishReason::kCancelled:
      return v1::FINISH_REASON_CANCELLED;
    case FinishReason::kError:
      return v1::FINISH_REASON_ERROR;
  }
  return v1::FINISH_REASON_UNSPECIFIED;
}

v1::RankState ToProto(flow::RankState state) {
  switch (state) {
    case flow::RankState::kAbsent:
      return v1::RANK_STATE_ABSENT;
    case flow::RankState::kJoined:
      return v1::RANK_STATE_JOINED;
    case flow::RankState::kLoading:
      return v1::RANK_STATE_LOADING;
    case flow::RankState::kReady:
      return v1::RANK_STATE_READY;
    case flow::RankState::kLost:
      return v1::RANK_STATE_LOST;
  }
  return v1::RANK_STATE_UNSPECIFIED;
}

void ToProto(const flow::RankStats& from, v1::Rank& to) {
  to.set_rank(from.rank);
  to.set_state(ToProto(from.state));
  to.set_host(from.host);
  to.set_device(from.device);
  to.set_build(from.build);
  to.set_stage(from.stage);
  to.set_tensor_index(from.tensor_index);
  to.set_first_layer(from.first_layer);
  to.set_layers(from.layers);
  to.set_weight_bytes(from.weight_bytes);
  to.set_kv_bytes(from.kv_bytes);
  to.set_load_fraction(from.load_fraction);
}

}  // namespace

GenerateInput FromProto(v1::GenerateRequest& request, uint64_t drawn_seed) {
  GenerateInput in;
  in.prompt = TakePrompt(request);
  const v1::SamplingParams& sampling = request.sampling();
  if (sampling.has_temperature()) in.temperature = sampling.temperature();
  if (sampling.has_top_p()) in.top_p = sampling.top_p();
  in.top_k = sampling.top_k();
  in.seed = sampling.has_seed() ? sampling.seed() : drawn_seed;
  if (request.has_max_tokens()) in.max_tokens = request.max_tokens();
  in.stop.assign(request.stop().begin(), request.stop().end());
  in.stop_token_ids.assign(request.stop_token_ids().begin(), request.stop_token_ids().end());
  in.ignore_eos = request.ignore_eos();
  in.request_id = request.request_id();
  return in;
}

ScoreInput FromProto(v1::ScoreRequest& request) {
  ScoreInput in;
  in.prompt = TakePrompt(request);
  in.request_id = request.request_id();
  return in;
}

void ToProto(flow::TextChunk chunk, bool with_logprobs, v1::GenerateResponse& out) {
  if (chunk.bytes.empty() && chunk.tokens.empty()) return;
  v1::GenerateChunk& to = *out.mutable_chunk();
  to.set_choice(chunk.choice);
  to.set_text(std::move(chunk.bytes));
  to.mutable_token_ids()->Add(chunk.tokens.begin(), chunk.tokens.end());
  if (with_logprobs) to.mutable_logprobs()->Add(chunk.logprobs.begin(), chunk.logprobs.end());
}

void ToProto(const GenerateEnd& end, const std::string& request_id, v1::GenerateDone& out) {
  out.set_finish_reason(ToProto(end.finish));
  out.mutable_usage()->set_prompt_tokens(static_cast<int32_t>(end.prompt.size()));
  out.mutable_usage()->set_completion_tokens(end.completion_tokens);
  out.mutable_prompt_token_ids()->Add(end.prompt.begin(), end.prompt.end());
  out.set_seed(end.seed);
  out.set_request_id(request_id);
}

v1::ScoreResponse ToProto(const ScoreReply& reply, const std::string& request_id) {
  v1::ScoreResponse out;
  out.mutable_token_ids()->Add(reply.ids.begin(), reply.ids.end());
  out.mutable_logprobs()->Add(reply.logprobs.begin(), reply.logprobs.end());
  out.set_nll(reply.nll);
  out.set_scored_tokens(static_cast<int32_t>(reply.logprobs.size()));
  out.set_request_id(request_id);
  return out;
}

v1::GetStatusResponse ToProto(const flow::EngineStats& stats) {
  v1::GetStatusResponse out;
  out.set_ready(stats.ready);
  out.set_draining(stats.draining);
  out.set_model(stats.model);
  out.set_max_model_len(stats.max_model_len);
  out.set_vocab_size(stats.vocab_size);
  out.set_epoch(stats.epoch.value);
  out.set_steps(stats.steps);
  out.set_running(stats.running);
  out.set_waiting(stats.waiting);
  out.set_max_running(stats.max_running);
  out.set_max_waiting(stats.max_waiting);
  out.set_blocks_total(stats.blocks_total);
  out.set_blocks_free(stats.blocks_free);
  out.set_block_size(stats.block_size);
  out.set_requests_finished(stats.requests_finished);
  out.set_tokens_generated(stats.tokens_generated);
  out.set_preemptions(stats.preemptions);
  for (const flow::RankStats& rank : stats.ranks) ToProto(rank, *out.add_ranks());
  out.set_version(kVersion);
  return out;
}

}  // namespace pamir::gateway
