#include "gateway/validate.h"

#include <cmath>
#include <functional>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "pamir/limits.h"

namespace pamir::gateway {
namespace {

using ::testing::HasSubstr;

constexpr int32_t kVocab = 100;

struct BadCase {
  const char* name;
  std::function<void(GenerateInput&)> spoil;
  const char* field;
  const char* wrong;  // in the message
  const char* right;  // in the message: what would have been fine
};

void PrintTo(const BadCase& bad, std::ostream* out) { *out << bad.name; }

class Refused : public ::testing::TestWithParam<BadCase> {};

TEST_P(Refused, NamesFieldFaultAndRemedy) {
  GenerateInput input;
  input.prompt.text = "a";
  ASSERT_EQ(ErrorOf(ValidateGenerate(input, kVocab)), nullptr);
  GetParam().spoil(input);
  const auto outcome = ValidateGenerate(input, kVocab);
  const ApiError* error = ErrorOf(outcome);
  ASSERT_NE(error, nullptr);
  EXPECT_EQ(error->code, ErrorCode::kInvalidRequest);
  EXPECT_EQ(error->field, GetParam().field);
  EXPECT_THAT(error->message, HasSubstr(GetParam().wrong));
  EXPECT_THAT(error->message, HasSubstr(GetParam().right));
}

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

INSTANTIATE_TEST_SUITE_P(
    Generate, Refused,
    ::testing::Values(
        BadCase{"temperature_nan", [](auto& in) { in.temperature = kNan; }, "temperature", "is nan",
                "0 to 100"},
        BadCase{"temperature_negative", [](auto& in) { in.temperature = -0.5; }, "temperature",
                "is -0.5", "0 to 100"},
        BadCase{"temperature_huge", [](auto& in) { in.temperature = 100.5; }, "temperature",
                "is 100.5", "0 to 100"},
        BadCase{"temperature_infinite", [](auto& in) { in.temperature = kInf; }, "temperature",
                "is inf", "0 to 100"},
        BadCase{"top_p_zero", [](auto& in) { in.top_p = 0; }, "top_p", "is 0", "above 0"},
        BadCase{"top_p_above_1", [](auto& in) { in.top_p = 1.01; }, "top_p", "is 1.01",
                "at most 1"},
        BadCase{"top_p_nan", [](auto& in) { in.top_p = kNan; }, "top_p", "is nan", "at most 1"},
        BadCase{"top_k_negative", [](auto& in) { in.top_k = -1; }, "top_k", "is -1", "0 keeps all"},
        BadCase{"top_k_huge", [](auto& in) { in.top_k = int64_t{1} << 31; }, "top_k",
                "is 2147483648", "2147483647"},
        BadCase{"max_tokens_negative", [](auto& in) { in.max_tokens = -1; }, "max_tokens", "is -1",
                "from 0"},
        BadCase{"max_tokens_huge", [](auto& in) { in.max_tokens = int64_t{1} << 40; }, "max_tokens",
                "is 1099511627776", "2147483647"},
        BadCase{"stop_too_many", [](auto& in) { in.stop.assign(kMaxStopStrings + 1, "x"); }, "stop",
                "has 17 strings", "at most 16"},
        BadCase{"stop_empty",
                [](auto& in) {
                  in.stop = {"a", ""};
                },
                "stop[1]", "is empty", "leave it out"},
        BadCase{"stop_long",
                [](auto& in) { in.stop = {std::string(kMaxStopStringBytes + 1, 'x')}; }, "stop[0]",
                "has 257 bytes", "at most 256"},
        BadCase{"stop_utf8", [](auto& in) { in.stop = {"ab\xff"}; }, "stop[0]", "at byte 2",
                "UTF-8"},
        BadCase{"stop_ids_many",
                [](auto& in) { in.stop_token_ids.assign(kMaxStopTokenIds + 1, 1); },
                "stop_token_ids", "has 65 ids", "at most 64"},
        BadCase{"stop_id_range",
                [](auto& in) {
                  in.stop_token_ids = {1, kVocab};
                },
                "stop_token_ids[1]", "is 100", "0 to 99"},
        BadCase{"id_negative",
                [](auto& in) {
                  in.prompt.ids = {{3, -1}};
                },
                "token_ids[1]", "is -1", "0 to 99"},
        BadCase{"id_large", [](auto& in) { in.prompt.ids = {{kVocab}}; }, "token_ids[0]", "is 100",
                "0 to 99"},
        BadCase{"ids_empty", [](auto& in) { in.prompt.ids.emplace(); }, "token_ids", "is empty",
                "at least one id"},
        BadCase{"ids_many", [](auto& in) { in.prompt.ids.emplace(kMaxTokenIds + 1, 1); },
                "token_ids", "has 1048577 ids", "at most 1048576"},
        BadCase{"text_long", [](auto& in) { in.prompt.text = std::string(kMaxTextBytes + 1, 'x'); },
                "text", "has 1048577 bytes", "at most 1048576"},
        BadCase{"text_utf8", [](auto& in) { in.prompt.text = "caf\xe9"; }, "text", "at byte 3",
                "UTF-8"},
        BadCase{"request_id_control", [](auto& in) { in.request_id = "a\nb"; }, "request_id",
                "control byte", "printable"},
        BadCase{"request_id_delete", [](auto& in) { in.request_id = "a\x7f"; }, "request_id",
                "control byte", "printable"},
        BadCase{"request_id_long",
                [](auto& in) { in.request_id.assign(kMaxRequestIdBytes + 1, 'x'); }, "request_id",
                "has 129 bytes", "at most 128"},
        BadCase{"request_id_utf8", [](auto& in) { in.request_id = "\xc0\x80"; }, "request_id",
                "UTF-8", "UTF-8"}),
    [](const auto& info) { return std::string(info.param.name); });

flow::GenerateRequest Valid(GenerateInput input) {
  auto outcome = ValidateGenerate(std::move(input), kVocab);
  const ApiError* error = ErrorOf(outcome);
  EXPECT_EQ(error, nullptr) << FullMessage(*error);
  return std::get<flow::GenerateRequest>(std::move(outcome));
}

TEST(Validate, AbsentMeansTheDefaults) {
  const flow::GenerateRequest request = Valid({});
  EXPECT_EQ(std::get<std::string>(request.prompt), "");
  EXPECT_EQ(request.sampling.temperature, 1.0f);
  EXPECT_EQ(request.sampling.top_p, 1.0f);
  EXPECT_EQ(request.sampling.top_k, 0);
  EXPECT_EQ(request.stop.max_tokens, 16);
  EXPECT_FALSE(request.stop.ignore_eos);
  EXPECT_FALSE(request.prompt_logprobs);
  EXPECT_EQ(request.deadline, absl::InfiniteFuture());
}

TEST(Validate, TakesEveryFieldUpToItsLimit) {
  GenerateInput input;
  input.prompt.ids = {{0, kVocab - 1}};
  input.temperature = kMaxTemperature;
  input.top_k = std::numeric_limits<int32_t>::max();
  input.top_p = 1;
  input.seed = ~uint64_t{0};
  input.max_tokens = 0;
  input.stop.assign(kMaxStopStrings, std::string(kMaxStopStringBytes, 's'));
  input.stop_token_ids.assign(kMaxStopTokenIds, kVocab - 1);
  input.ignore_eos = true;
  input.request_id.assign(kMaxRequestIdBytes, 'r');
  input.deadline = absl::FromUnixSeconds(5);
  const flow::GenerateRequest request = Valid(input);
  EXPECT_THAT(std::get<std::vector<TokenId>>(request.prompt),
              ::testing::ElementsAre(0, kVocab - 1));
  EXPECT_EQ(request.sampling.temperature, kMaxTemperature);
  EXPECT_EQ(request.sampling.top_k, std::numeric_limits<int32_t>::max());
  EXPECT_EQ(request.sampling.seed, ~uint64_t{0});
  EXPECT_EQ(request.stop.max_tokens, 0);
  EXPECT_EQ(request.stop.stop.size(), kMaxStopStrings);
  EXPECT_EQ(request.stop.stop_token_ids.size(), kMaxStopTokenIds);
  EXPECT_TRUE(request.stop.ignore_eos);
  EXPECT_EQ(request.deadline, absl::FromUnixSeconds(5));
  EXPECT_EQ(
      std::get<std::string>(Valid({.prompt = {.text = std::string(kMaxTextBytes, 'x')}}).prompt)
          .size(),
      kMaxTextBytes);
}

TEST(Validate, ATopPBelowTheSmallestFloatStaysAboveZero) {
  EXPECT_GT(Valid({.top_p = 1e-60}).sampling.top_p, 0.0f);
}

TEST(Validate, ScoreAsksForPromptLogprobsAndNoTokens) {
  auto outcome = ValidateScore({.prompt = {.text = "abc"}}, kVocab);
  const auto& request = std::get<flow::GenerateRequest>(outcome);
  EXPECT_TRUE(request.prompt_logprobs);
  EXPECT_EQ(request.stop.max_tokens, 0);
  const auto bad_text = ValidateScore({.prompt = {.text = "\xff"}}, kVocab);
  ASSERT_NE(ErrorOf(bad_text), nullptr);
  EXPECT_EQ(ErrorOf(bad_text)->field, "text");
  const auto bad_id = ValidateScore({.request_id = "\n"}, kVocab);
  ASSERT_NE(ErrorOf(bad_id), nullptr);
  EXPECT_EQ(ErrorOf(bad_id)->field, "request_id");
}

}  // namespace
}  // namespace pamir::gateway
