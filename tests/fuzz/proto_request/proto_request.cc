// Bytes from the network -> protobuf -> validator -> a request of the path. The first byte picks
// the message. What comes out valid must lie inside the limits.
#include <cstdint>
#include <cstdlib>
#include <variant>

#include "base/utf8.h"
#include "gateway/grpc_convert.h"
#include "gateway/validate.h"
#include "pamir/limits.h"

namespace {

using namespace pamir;           // NOLINT: one small program
using namespace pamir::gateway;  // NOLINT

constexpr int32_t kVocab = 50265;

void Require(bool condition) {
  if (!condition) abort();
}

void RequireIds(const std::vector<TokenId>& ids) {
  for (const TokenId id : ids) Require(id >= 0 && id < kVocab);
}

void CheckOutcome(const Outcome<flow::GenerateRequest>& outcome) {
  if (const ApiError* error = ErrorOf(outcome)) {
    Require(error->code == ErrorCode::kInvalidRequest && !error->field.empty());
    Require(error->message.find("; ") != std::string::npos);  // wrong; right
    return;
  }
  const auto& request = std::get<flow::GenerateRequest>(outcome);
  if (const auto* ids = std::get_if<std::vector<TokenId>>(&request.prompt)) {
    Require(!ids->empty() && ids->size() <= kMaxTokenIds);
    RequireIds(*ids);
  } else {
    const auto& text = std::get<std::string>(request.prompt);
    Require(text.size() <= kMaxTextBytes && !FirstInvalidUtf8(text).has_value());
  }
  const SamplingParams& sampling = request.sampling;
  Require(sampling.temperature >= 0 && sampling.temperature <= kMaxTemperature);
  Require(sampling.top_p > 0 && sampling.top_p <= 1 && sampling.top_k >= 0);
  Require(request.stop.max_tokens >= 0 && request.stop.stop.size() <= kMaxStopStrings);
  for (const std::string& stop : request.stop.stop) {
    Require(!stop.empty() && stop.size() <= kMaxStopStringBytes);
  }
  Require(request.stop.stop_token_ids.size() <= kMaxStopTokenIds);
  RequireIds(request.stop.stop_token_ids);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const int length = static_cast<int>(size - 1);
  if (data[0] % 2 == 0) {
    pamir::v1::GenerateRequest message;
    if (!message.ParseFromArray(data + 1, length)) return 0;
    CheckOutcome(ValidateGenerate(FromProto(message, 1), kVocab));
  } else {
    pamir::v1::ScoreRequest message;
    if (!message.ParseFromArray(data + 1, length)) return 0;
    CheckOutcome(ValidateScore(FromProto(message), kVocab));
  }
  return 0;
}
