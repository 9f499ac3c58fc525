// Calls without gRPC: a recorded connection on one side, a fake engine on the other.
#include <memory>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "gateway/dispatcher.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "unit/gateway/byte_text.h"
#include "unit/gateway/fake_engine.h"
#include "unit/gateway/recording_writer.h"

namespace pamir::gateway {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Calls : public ::testing::Test {
 protected:
  std::shared_ptr<GenerateCall> Start(const std::string& prompt, RecordingWriter& writer,
                                      std::vector<std::string> stop = {}) {
    flow::GenerateRequest request;
    request.prompt = prompt;
    request.stop.stop = std::move(stop);
    request.sampling.seed = 77;
    auto call = dispatcher_->NewGenerate(std::move(request), &writer);
    call->Start();
    return call;
  }
  // A writer for which every write is done at once, from the test's thread.
  static void DrainWrites(GenerateCall& call, const RecordingWriter& writer) {
    size_t done = 0;
    while (!writer.ended()) {
      for (const size_t now = writer.chunks().size(); done < now; ++done) call.OnWritten(true);
    }
  }
  void MakeDispatcher(DispatcherOptions options) {
    dispatcher_ = std::make_unique<Dispatcher>(options, &engine_, &text_);
  }

  FakeEngine engine_;  // outlives the dispatcher, as in the product
  ByteText text_;
  std::unique_ptr<Dispatcher> dispatcher_ =
      std::make_unique<Dispatcher>(DispatcherOptions{}, &engine_, &text_);
};

TEST_F(Calls, TextGoesBehindTheLeadingTokenAndIdsAsTheyAre) {
  RecordingWriter writer;
  auto call = Start("ab", writer);
  EXPECT_THAT(engine_.WaitSubmitted().prompt,
              ElementsAre(2, ByteText::TokenOf('a'), ByteText::TokenOf('b')));
  flow::GenerateRequest ids;
  ids.prompt = std::vector<TokenId>{9, 8};
  ids.stop.max_tokens = 5;
  ids.stop.stop_token_ids = {7};
  ids.stop.ignore_eos = true;
  ids.sampling.top_k = 3;
  ids.deadline = absl::FromUnixSeconds(4'000'000'000);
  RecordingWriter second;
  auto other = dispatcher_->NewGenerate(ids, &second);
  other->Start();
  const flow::TokenRequest got = engine_.WaitSubmitted(2);
  EXPECT_THAT(got.prompt, ElementsAre(9, 8));
  EXPECT_EQ(got.max_tokens, 5);
  EXPECT_THAT(got.stop_token_ids, ElementsAre(7));
  EXPECT_TRUE(got.ignore_eos);
  EXPECT_EQ(got.sampling.top_k, 3);
  EXPECT_EQ(got.deadline, ids.deadline);
  EXPECT_NE(got.id.value, 1u) << "every call has an id of its own";
  call->Cancel(false);
  other->Cancel(false);
}

TEST_F(Calls, StreamsTokensInOrderToTheEnd) {
  RecordingWriter writer;
  auto call = Start("p", writer);
  const SeqId id = engine_.WaitSubmitted().id;
  std::string text;
  for (int i = 0; i < 300; ++i) absl::StrAppend(&text, i, " ");
  std::thread emitter([&] {
    engine_.EmitText(id, text);
    engine_.EmitEnd(id, FinishReason::kLength);
  });
  DrainWrites(*call, writer);
  emitter.join();
  EXPECT_EQ(writer.text(), text);
  ASSERT_TRUE(writer.end().has_value());
  EXPECT_EQ(writer.end()->finish, FinishReason::kLength);
  EXPECT_EQ(writer.end()->completion_tokens, static_cast<int32_t>(text.size()));
  EXPECT_THAT(writer.end()->prompt, ElementsAre(2, ByteText::TokenOf('p')));
  EXPECT_EQ(writer.end()->seed, 77u);
  EXPECT_EQ(writer.tokens().size(), text.size());
  EXPECT_EQ(engine_.cancels(), 0u);
}

TEST_F(Calls, HoldsBackHalfACharacterAndFlushesIt) {
  RecordingWriter writer;
  auto call = Start("p", writer);
  const SeqId id = engine_.WaitSubmitted().id;
  engine_.EmitText(id, "a\xe2\x82\xac\xe2\x82");  // a, the euro sign, two thirds of another
  engine_.EmitEnd(id, FinishReason::kStop);
  DrainWrites(*call, writer);
  EXPECT_EQ(writer.text(), "a\xe2\x82\xac\xEF\xBF\xBD");
  EXPECT_EQ(writer.end()->finish, FinishReason::kStop);
  for (const auto& chunk : writer.chunks()) {
    EXPECT_EQ(chunk.tokens.size(), chunk.logprobs.size());
  }
}

TEST_F(Calls, AStopStringOverSeveralTokensEndsTheStreamAtOnce) {
  RecordingWriter writer;
  auto call = Start("p", writer, {"END", "zzz"});
  const SeqId id = engine_.WaitSubmitted().id;
  engine_.EmitText(id, "one EN two END");
  // The engine has said nothing of an end: the stop string alone does it.
  DrainWrites(*call, writer);
  EXPECT_EQ(writer.text(), "one EN two ");
  EXPECT_EQ(writer.end()->finish, FinishReason::kStop);
  EXPECT_EQ(writer.end()->completion_tokens, 14);
  EXPECT_THAT(engine_.StopIndices(), ElementsAre(13));
  EXPECT_EQ(engine_.cancels(), 0u);
  engine_.EmitText(id, "more");  // ignored
  EXPECT_EQ(writer.text(), "one EN two ");
}

TEST_F(Calls, APossibleStopStringThatIsNoneComesOutAtTheEnd) {
  RecordingWriter writer;
  auto call = Start("p", writer, {"END"});
  const SeqId id = engine_.WaitSubmitted().id;
  engine_.EmitText(id, "the EN");
  engine_.EmitEnd(id, FinishReason::kLength);
  DrainWrites(*call, writer);
  EXPECT_EQ(writer.text(), "the EN");
  EXPECT_EQ(writer.end()->finish, FinishReason::kLength);
}

TEST_F(Calls, CancelWhileTheTextWaitsNeverReachesSubmit) {
  RecordingWriter holding, writer;
  auto first = Start("#hold", holding);
  text_.WaitHeld(1);
  auto call = Start("waits", writer);
  call->Cancel(/*deadline_exceeded=*/false);
  ASSERT_TRUE(writer.ended());
  EXPECT_EQ(writer.error()->code, ErrorCode::kCancelled);
  text_.Release();
  const flow::TokenRequest submitted = engine_.WaitSubmitted(1);
  EXPECT_EQ(submitted.prompt.size(), 6u) << "the held one, not the cancelled one";
  first->Cancel(false);
  dispatcher_.reset();  // runs what the pool still holds
  EXPECT_EQ(engine_.active(), 0u);
}

TEST_F(Calls, CancelWhileStreamingReachesTheEngineOnce) {
  RecordingWriter writer;
  auto call = Start("p", writer);
  const SeqId id = engine_.WaitSubmitted().id;
  engine_.EmitText(id, "x");
  writer.WaitChunks(1);
  call->Cancel(/*deadline_exceeded=*/true);
  EXPECT_FALSE(writer.ended()) << "a write is under way";
  call->OnWritten(false);
  ASSERT_TRUE(writer.ended());
  EXPECT_EQ(writer.error()->code, ErrorCode::kDeadlineExceeded);
  engine_.WaitCancelled(id);
  EXPECT_EQ(engine_.active(), 0u);
}

TEST_F(Calls, ABrokenConnectionCancels) {
  RecordingWriter writer;
  auto call = Start("p", writer);
  const SeqId id = engine_.WaitSubmitted().id;
  engine_.EmitText(id, "x");
  writer.WaitChunks(1);
  call->OnWritten(false);
  engine_.WaitCancelled(id);
  EXPECT_EQ(writer.error()->code, ErrorCode::kCancelled);
}

TEST_F(Calls, CancelsRacingWithSubmitLeaveNothingRunning) {
  for (int round = 0; round < 200; ++round) {
    RecordingWriter writer;
    auto call = Start("p", writer);
    std::thread canceller([&] { call->Cancel(false); });
    canceller.join();
    writer.WaitEnded();
  }
  dispatcher_.reset();
  EXPECT_EQ(engine_.active(), 0u);
}

TEST_F(Calls, ASlowReaderIsCancelledAtTheLimit) {
  MakeDispatcher({.max_unread_bytes = 900});  // a token of one byte counts 9
  RecordingWriter writer;
  auto call = Start("p", writer);
  const SeqId id = engine_.WaitSubmitted().id;
  engine_.EmitText(id, "x");
  writer.WaitChunks(1);  // and is never done
  engine_.EmitText(id, std::string(100, 'y'));
  EXPECT_EQ(engine_.cancels(), 0u);
  engine_.EmitText(id, "z");
  engine_.WaitCancelled(id);
  DrainWrites(*call,
              writer);  // what waited may still come, if the write is done before the end is told
  EXPECT_EQ(writer.error()->code, ErrorCode::kSlowReader);
}

TEST_F(Calls, AFullTextQueueRefuses) {
  MakeDispatcher({.max_queued_text_jobs = 2});
  RecordingWriter writers[4];
  std::vector<std::shared_ptr<GenerateCall>> calls;
  calls.push_back(Start("#hold", writers[0]));
  text_.WaitHeld(1);
  for (int i = 1; i < 4; ++i) calls.push_back(Start("wait", writers[i]));
  EXPECT_FALSE(writers[2].ended());
  ASSERT_TRUE(writers[3].ended());
  EXPECT_EQ(writers[3].error()->code, ErrorCode::kOverloaded);
  absl::Notification told;
  dispatcher_->Tokenize("t", false, [&](const Outcome<std::vector<TokenId>>& ids) {
    EXPECT_EQ(ErrorOf(ids)->code, ErrorCode::kOverloaded);
    told.Notify();
  });
  EXPECT_TRUE(told.HasBeenNotified());
  text_.Release();
  engine_.WaitSubmitted(3);
  for (int i = 0; i < 3; ++i) calls[i]->Cancel(false);
}

TEST_F(Calls, TheEnginesRefusalsKeepTheirMeaning) {
  const std::pair<absl::Status, ErrorCode> cases[] = {
      {absl::ResourceExhaustedError("full"), ErrorCode::kOverloaded},
      {absl::UnavailableError("loading"), ErrorCode::kNotReady},
      {absl::InvalidArgumentError("too long"), ErrorCode::kInvalidRequest},
      {absl::UnknownError("odd"), ErrorCode::kInternal}};
  for (const auto& [status, code] : cases) {
    engine_.RefuseWith(status);
    RecordingWriter writer;
    auto call = Start("p", writer);
    writer.WaitEnded();
    EXPECT_EQ(writer.error()->code, code);
    EXPECT_EQ(writer.error()->message, status.message());
  }
}

TEST_F(Calls, TheEnginesEndsKeepTheirMeaning) {
  struct Case {
    FinishReason finish;
    bool deadline;
    ErrorCode code;
  };
  size_t submitted = 0;
  for (const Case& c : {Case{FinishReason::kCancelled, true, ErrorCode::kDeadlineExceeded},
                        Case{FinishReason::kCancelled, false, ErrorCode::kCancelled},
                        Case{FinishReason::kError, false, ErrorCode::kNotReady}}) {
    RecordingWriter writer;
    auto call = Start("p", writer);
    engine_.EmitEnd(engine_.WaitSubmitted(++submitted).id, c.finish, "because", c.deadline);
    writer.WaitEnded();
    EXPECT_EQ(writer.error()->code, c.code);
    EXPECT_EQ(writer.error()->message, "because");
  }
}

TEST_F(Calls, ALateEventAfterTheDispatcherIsGoneDoesNoHarm) {
  RecordingWriter writer;
  auto call = Start("p", writer, {"s"});
  const SeqId id = engine_.WaitSubmitted().id;
  call->Cancel(false);
  std::shared_ptr<flow::TokenSink> sink = std::move(call);
  dispatcher_.reset();
  flow::TokenEvent late;
  late.id = id;
  late.has_token = true;
  sink->OnToken(late);
  EXPECT_TRUE(writer.chunks().empty());
}

TEST_F(Calls, ScoreGivesOneLogprobLessThanTokens) {
  absl::Notification told;
  flow::GenerateRequest request;
  request.prompt = "abc";
  request.prompt_logprobs = true;
  auto call = dispatcher_->NewScore(request, [&](const Outcome<ScoreReply>& outcome) {
    ASSERT_EQ(ErrorOf(outcome), nullptr);
    const auto& reply = std::get<ScoreReply>(outcome);
    EXPECT_EQ(reply.ids.size(), 4u);
    EXPECT_THAT(reply.logprobs, ElementsAre(-1.0, -0.5, -0.25));
    EXPECT_EQ(reply.nll, 1.75);
    told.Notify();
  });
  call->Start();
  const flow::TokenRequest submitted = engine_.WaitSubmitted();
  EXPECT_TRUE(submitted.prompt_logprobs);
  engine_.EmitPromptLogprobs(submitted.id, {-1, -0.5, -0.25});
  told.WaitForNotification();
}

TEST_F(Calls, ScoreSaysWhenTheEngineGivesTheWrongNumber) {
  absl::Notification told;
  flow::GenerateRequest request;
  request.prompt = std::vector<TokenId>{5, 6, 7};
  auto call = dispatcher_->NewScore(request, [&](const Outcome<ScoreReply>& outcome) {
    ASSERT_NE(ErrorOf(outcome), nullptr);
    EXPECT_EQ(ErrorOf(outcome)->code, ErrorCode::kInternal);
    EXPECT_THAT(ErrorOf(outcome)->message, HasSubstr("1 log-probabilities for 3 tokens"));
    told.Notify();
  });
  call->Start();
  engine_.EmitPromptLogprobs(engine_.WaitSubmitted().id, {-1});
  told.WaitForNotification();
}

TEST_F(Calls, ManyStreamsAtOnceStayApart) {
  constexpr int kStreams = 100;
  MakeDispatcher({.text_threads = 4, .max_unread_bytes = 1 << 20});
  engine_.StartEchoing();
  std::vector<std::unique_ptr<RecordingWriter>> writers;
  std::vector<std::shared_ptr<GenerateCall>> calls;
  for (int i = 0; i < kStreams; ++i) {
    flow::GenerateRequest request;
    request.prompt = absl::StrCat("<", i, ">");
    request.stop.max_tokens = 64;
    writers.push_back(std::make_unique<RecordingWriter>());
    calls.push_back(dispatcher_->NewGenerate(request, writers.back().get()));
    calls.back()->Start();
  }
  for (int i = 0; i < kStreams; ++i) {
    DrainWrites(*calls[i], *writers[i]);
    const std::string unit = absl::StrCat("<", i, ">");
    std::string expected;
    while (expected.size() < 64) expected += unit;
    EXPECT_EQ(writers[i]->text(), expected.substr(0, 64));
  }
}

TEST(Seeds, AreDrawnAnewForEachRequest) {
  EXPECT_NE(Dispatcher::DrawSeed(), Dispatcher::DrawSeed());
}

}  // namespace
}  // namespace pamir::gateway
