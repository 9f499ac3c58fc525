// Generate over real gRPC on loopback.
#include <thread>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "pamir/limits.h"
#include "unit/gateway/door_fixture.h"
#include "unit/gateway/raw_call.h"

namespace pamir::gateway {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST_F(Door, StreamsTextTokensAndLogprobsThenTheEnd) {
  Open();
  engine_.StartEchoing();
  GenerateParams params = Prompt("abc", 7);
  params.logprobs = true;
  params.seed = 99;
  params.request_id = "mine";
  std::string streamed;
  const auto result =
      client().Generate(params, [&](const pamir::GenerateChunk& chunk) { streamed += chunk.text; });
  ASSERT_TRUE(result.ok()) << result.error.message;
  EXPECT_EQ(streamed, "abcabca");
  EXPECT_EQ(result.value.text, streamed);
  EXPECT_EQ(result.value.token_ids.size(), 7u);
  EXPECT_THAT(result.value.logprobs, ElementsAre(0, -0.5, -1, -1.5, -2, -2.5, -3));
  EXPECT_EQ(result.value.finish_reason, FinishReason::kLength);
  EXPECT_THAT(
      result.value.prompt_token_ids,
      ElementsAre(2, ByteText::TokenOf('a'), ByteText::TokenOf('b'), ByteText::TokenOf('c')));
  EXPECT_EQ(result.value.prompt_tokens, 4);
  EXPECT_EQ(result.value.completion_tokens, 7);
  EXPECT_EQ(result.value.seed, 99u);
  EXPECT_EQ(result.value.request_id, "mine");
}

TEST_F(Door, PassesOnEveryParameter) {
  Open();
  GenerateParams params;
  params.prompt_ids = {5, 6};
  params.temperature = 0;
  params.top_k = 4;
  params.top_p = 0.25f;
  params.stop = {.max_tokens = 9, .stop = {"x"}, .stop_token_ids = {3}, .ignore_eos = true};
  std::jthread call(
      [&] { EXPECT_TRUE(client().Generate(params, {}, {.timeout = std::chrono::hours(1)}).ok()); });
  const flow::TokenRequest request = engine_.WaitSubmitted();
  EXPECT_THAT(request.prompt, ElementsAre(5, 6));
  EXPECT_EQ(request.sampling.temperature, 0);
  EXPECT_EQ(request.sampling.top_k, 4);
  EXPECT_EQ(request.sampling.top_p, 0.25f);
  EXPECT_EQ(request.max_tokens, 9);
  EXPECT_THAT(request.stop_token_ids, ElementsAre(3));
  EXPECT_TRUE(request.ignore_eos);
  EXPECT_LT(request.deadline, absl::Now() + absl::Hours(2));
  engine_.EmitEnd(request.id, FinishReason::kStop);
}

TEST_F(Door, WithoutLogprobsSendsNoneAndDrawsASeed) {
  Open();
  engine_.StartEchoing();
  const auto first = client().Generate(Prompt("a", 3));
  const auto second = client().Generate(Prompt("a", 3));
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_TRUE(first.value.logprobs.empty());
  EXPECT_NE(first.value.seed, second.value.seed);
}

TEST_F(Door, AStopStringEndsTheStream) {
  Open();
  engine_.StartEchoing();
  GenerateParams params = Prompt("abcd", 1000);
  params.stop.stop = {"da"};
  const auto result = client().Generate(params);
  ASSERT_TRUE(result.ok()) << result.error.message;
  EXPECT_EQ(result.value.text, "abc");
  EXPECT_EQ(result.value.finish_reason, FinishReason::kStop);
  EXPECT_EQ(result.value.completion_tokens, 5);
}

TEST_F(Door, RefusesWithCodeFieldFaultAndRemedy) {
  Open();
  GenerateParams params = Prompt("a");
  params.temperature = -1;
  const auto bad = client().Generate(params);
  EXPECT_EQ(bad.error.code, "INVALID_ARGUMENT");
  EXPECT_THAT(bad.error.message, HasSubstr("temperature: is -1; give a number from 0 to 100"));
  EXPECT_EQ(bad.value.finish_reason, FinishReason::kError);
  const auto ids = client().ScoreIds({1, 100000});
  EXPECT_EQ(ids.error.code, "INVALID_ARGUMENT");
  EXPECT_THAT(ids.error.message, HasSubstr("token_ids[1]: is 100000"));
  EXPECT_EQ(client().Tokenize(std::string(kMaxTextBytes + 1, 'x'), false).error.code,
            "INVALID_ARGUMENT");
  EXPECT_THAT(client().Detokenize({-4}, false).error.message, HasSubstr("token_ids[0]: is -4"));
}

TEST_F(Door, ExplainsBytesThatAreNoMessage) {
  Open();
  // Field 1 (text) with a byte that is no UTF-8; then bytes that are no protobuf at all.
  for (const std::string& bytes : {std::string("\x0a\x01\xff"), std::string("\xff\xff\xff")}) {
    for (const char* method : {"Generate", "Score", "Tokenize", "Detokenize"}) {
      if (bytes[0] == '\x0a' && method == std::string("Detokenize")) continue;  // ids: valid there
      const RawReply reply =
          RawCall(target(), absl::StrCat("/pamir.v1.Generation/", method), bytes);
      EXPECT_EQ(reply.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << method;
      EXPECT_THAT(reply.status.error_message(),
                  HasSubstr(absl::StrCat("no pamir.v1.", method, "Request; send one")));
    }
  }
}

TEST_F(Door, ClientCancelWhileStreamingReachesTheEngine) {
  Open();
  std::stop_source stop;
  std::jthread call([&] {
    const auto result =
        client().Generate(Prompt("a"), [&](const pamir::GenerateChunk&) { stop.request_stop(); },
                          {.stop = stop.get_token()});
    EXPECT_EQ(result.error.code, "CANCELLED");
    EXPECT_EQ(result.value.finish_reason, FinishReason::kCancelled);
    EXPECT_EQ(result.value.text, "x");
  });
  const SeqId id = engine_.WaitSubmitted().id;
  engine_.EmitText(id, "x");
  engine_.WaitCancelled(id);
}

TEST_F(Door, ClientCancelWhileQueuedInTheEngineReachesIt) {
  Open();
  std::stop_source stop;
  std::jthread call([&] {
    EXPECT_EQ(client().Generate(Prompt("a"), {}, {.stop = stop.get_token()}).error.code,
              "CANCELLED");
  });
  const SeqId id = engine_.WaitSubmitted().id;
  stop.request_stop();
  engine_.WaitCancelled(id);
}

TEST_F(Door, ScoreIsCancelledToo) {
  Open();
  std::stop_source stop;
  std::jthread call(
      [&] { EXPECT_EQ(client().Score("a", {.stop = stop.get_token()}).error.code, "CANCELLED"); });
  const SeqId id = engine_.WaitSubmitted().id;
  stop.request_stop();
  engine_.WaitCancelled(id);
}

TEST_F(Door, TheDeadlineEndsTheRequest) {
  Open();
  const auto result = client().Generate(Prompt("a"), {}, {.timeout = std::chrono::seconds(1)});
  EXPECT_EQ(result.error.code, "DEADLINE_EXCEEDED");
  const flow::TokenRequest request = engine_.WaitSubmitted();
  EXPECT_LT(request.deadline, absl::Now() + absl::Seconds(1));
  engine_.WaitCancelled(request.id);
}

TEST_F(Door, AReaderThatDoesNotReadIsEnded) {
  options_.dispatcher.max_unread_bytes = 4096;
  Open();
  absl::Notification cancelled;
  std::jthread call([&] {
    const auto result = client().Generate(Prompt("a"), [&](const pamir::GenerateChunk&) {
      cancelled.WaitForNotification();  // reads nothing more until then
    });
    EXPECT_EQ(result.error.code, "RESOURCE_EXHAUSTED");
    EXPECT_THAT(result.error.message, HasSubstr("not read fast enough"));
  });
  const SeqId id = engine_.WaitSubmitted().id;
  // Until the connection's windows are full and then the limit is passed.
  while (engine_.active() == 1) engine_.EmitText(id, std::string(1000, 'y'));
  engine_.WaitCancelled(id);
  cancelled.Notify();
}

TEST_F(Door, HundredStreamsAtOnceStayApart) {
  Open();
  engine_.StartEchoing();
  std::vector<std::jthread> threads;
  for (int i = 0; i < 100; ++i) {
    threads.emplace_back([this, i] {
      const std::string unit = absl::StrCat("<", i, ">");
      const auto result = client().Generate(Prompt(unit, 120));
      ASSERT_TRUE(result.ok()) << result.error.message;
      std::string expected;
      while (expected.size() < 120) expected += unit;
      EXPECT_EQ(result.value.text, expected.substr(0, 120));
    });
  }
}

TEST_F(Door, RefusesCallsBeyondItsLimit) {
  options_.dispatcher.max_active_calls = 1;
  Open();
  std::jthread call([&] { EXPECT_TRUE(client().Generate(Prompt("a")).ok()); });
  const SeqId id = engine_.WaitSubmitted().id;
  // Another connection: on the same one, the limit of streams makes gRPC wait instead.
  const RawReply reply = RawCall(target(), "/pamir.v1.Generation/Tokenize", "");
  EXPECT_EQ(reply.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(reply.status.error_message(), HasSubstr("1 calls, its limit"));
  engine_.EmitEnd(id, FinishReason::kStop);
}

}  // namespace
}  // namespace pamir::gateway
