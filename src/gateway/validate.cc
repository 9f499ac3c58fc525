#include "gateway/validate.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/utf8.h"
#include "pamir/limits.h"

namespace pamir::gateway {
namespace {

using MaybeError = std::optional<ApiError>;

ApiError Invalid(const std::string& field, const std::string& message) {
  return {ErrorCode::kInvalidRequest, message, field};
}

MaybeError CheckUtf8(const std::string& field, const std::string& text) {
  const std::optional<size_t> bad = FirstInvalidUtf8(text);
  if (!bad.has_value()) return std::nullopt;
  return Invalid(field, absl::StrCat("is no valid UTF-8 at byte ", *bad, "; send UTF-8 text"));
}

MaybeError CheckPrompt(const PromptInput& prompt, int32_t vocab_size) {
  if (prompt.ids.has_value()) {
    if (prompt.ids->empty()) {
      return Invalid("token_ids", "is empty; give at least one id, or a text");
    }
    return CheckIds("token_ids", *prompt.ids, vocab_size);
  }
  return prompt.text.has_value() ? CheckText("text", *prompt.text) : std::nullopt;
}

// Comparisons are written so that NaN fails them.
MaybeError CheckSampling(const GenerateInput& in) {
  if (in.temperature.has_value() && !(*in.temperature >= 0 && *in.temperature <= kMaxTemperature)) {
    return Invalid("temperature", absl::StrCat("is ", *in.temperature, "; give a number from 0 to ",
                                               kMaxTemperature, " (0 takes the likeliest token)"));
  }
  if (in.top_p.has_value() && !(*in.top_p > 0 && *in.top_p <= 1)) {
    return Invalid("top_p", absl::StrCat("is ", *in.top_p,
                                         "; give a number above 0, at most 1 (1 keeps all)"));
  }
  constexpr int64_t kMaxTopK = std::numeric_limits<int32_t>::max();
  if (in.top_k.has_value() && (*in.top_k < 0 || *in.top_k > kMaxTopK)) {
    return Invalid("top_k", absl::StrCat("is ", *in.top_k, "; give a number from 0 to ", kMaxTopK,
                                         " (0 keeps all)"));
  }
  return std::nullopt;
}

MaybeError CheckStopStrings(const std::vector<std::string>& stop) {
  if (stop.size() > kMaxStopStrings) {
    return Invalid("stop",
                   absl::StrCat("has ", stop.size(), " strings; give at most ", kMaxStopStrings));
  }
  for (size_t i = 0; i < stop.size(); ++i) {
    const std::string field = absl::StrCat("stop[", i, "]");
    if (stop[i].empty()) return Invalid(field, "is empty; leave it out");
    if (stop[i].size() > kMaxStopStringBytes) {
      return Invalid(field, absl::StrCat("has ", stop[i].size(), " bytes; give at most ",
                                         kMaxStopStringBytes));
    }
    if (MaybeError error = CheckUtf8(field, stop[i])) return error;
  }
  return std::nullopt;
}

MaybeError CheckStopRules(const GenerateInput& in, int32_t vocab_size) {
  constexpr int64_t kMaxTokens = std::numeric_limits<int32_t>::max();
  if (in.max_tokens.has_value() && (*in.max_tokens < 0 || *in.max_tokens > kMaxTokens)) {
    return Invalid("max_tokens",
                   absl::StrCat("is ", *in.max_tokens, "; give a number from 0 to ", kMaxTokens));
  }
  if (MaybeError error = CheckStopStrings(in.stop)) return error;
  if (in.stop_token_ids.size() > kMaxStopTokenIds) {
    return Invalid("stop_token_ids", absl::StrCat("has ", in.stop_token_ids.size(),
                                                  " ids; give at most ", kMaxStopTokenIds));
  }
  return CheckIds("stop_token_ids", in.stop_token_ids, vocab_size);
}

MaybeError CheckRequestId(const std::string& id) {
  if (id.size() > kMaxRequestIdBytes) {
    return Invalid("request_id",
                   absl::StrCat("has ", id.size(), " bytes; give at most ", kMaxRequestIdBytes));
  }
  for (const char c : id) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      return Invalid("request_id", "has a control byte; give printable characters");
    }
  }
  return CheckUtf8("request_id", id);
}

void MovePrompt(PromptInput& from, flow::GenerateRequest& to) {
  if (from.ids.has_value()) {
    to.prompt = std::move(*from.ids);
  } else {
    to.prompt = std::move(from.text).value_or(std::string());
  }
}

}  // namespace

MaybeError CheckText(const std::string& field, const std::string& text) {
  if (text.size() > kMaxTextBytes) {
    return Invalid(field,
                   absl::StrCat("has ", text.size(), " bytes; give at most ", kMaxTextBytes));
  }
  return CheckUtf8(field, text);
}

MaybeError CheckIds(const std::string& field, const std::vector<TokenId>& ids, int32_t vocab_size) {
  if (ids.size() > kMaxTokenIds) {
    return Invalid(field, absl::StrCat("has ", ids.size(), " ids; give at most ", kMaxTokenIds));
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && ids[i] < vocab_size) continue;
    return Invalid(absl::StrCat(field, "[", i, "]"),
                   absl::StrCat("is ", ids[i], "; this model's ids go from 0 to ", vocab_size - 1));
  }
  return std::nullopt;
}

Outcome<flow::GenerateRequest> ValidateGenerate(GenerateInput in, int32_t vocab_size) {
  if (MaybeError error = CheckPrompt(in.prompt, vocab_size)) return *std::move(error);
  if (MaybeError error = CheckSampling(in)) return *std::move(error);
  if (MaybeError error = CheckStopRules(in, vocab_size)) return *std::move(error);
  if (MaybeError error = CheckRequestId(in.request_id)) return *std::move(error);

  flow::GenerateRequest out;  // holds the API's defaults
  MovePrompt(in.prompt, out);
  out.tenant = std::move(in.tenant);
  out.deadline = in.deadline;
  out.sampling.seed = in.seed;
  if (in.temperature.has_value()) out.sampling.temperature = static_cast<float>(*in.temperature);
  if (in.top_k.has_value()) out.sampling.top_k = static_cast<int32_t>(*in.top_k);
  // A double just above 0 may round to the float 0, which keeps nothing.
  if (in.top_p.has_value()) {
    out.sampling.top_p = std::max(static_cast<float>(*in.top_p), std::numeric_limits<float>::min());
  }
  if (in.max_tokens.has_value()) out.stop.max_tokens = static_cast<int32_t>(*in.max_tokens);
  out.stop.stop = std::move(in.stop);
  out.stop.stop_token_ids = std::move(in.stop_token_ids);
  out.stop.ignore_eos = in.ignore_eos;
  return out;
}

Outcome<flow::GenerateRequest> ValidateScore(ScoreInput in, int32_t vocab_size) {
  if (MaybeError error = CheckPrompt(in.prompt, vocab_size)) return *std::move(error);
  if (MaybeError error = CheckRequestId(in.request_id)) return *std::move(error);
  flow::GenerateRequest out;
  MovePrompt(in.prompt, out);
  out.tenant = std::move(in.tenant);
  out.deadline = in.deadline;
  out.stop.max_tokens = 0;
  out.prompt_logprobs = true;
  return out;
}

}  // namespace pamir::gateway
