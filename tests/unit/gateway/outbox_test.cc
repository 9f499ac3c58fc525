#include "gateway/outbox.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "unit/gateway/recording_writer.h"

namespace pamir::gateway {
namespace {

using ::testing::ElementsAre;

flow::TextChunk Chunk(const std::string& bytes, TokenId token) {
  flow::TextChunk chunk;
  chunk.bytes = bytes;
  chunk.tokens = {token};
  chunk.logprobs = {-1.0f * static_cast<float>(token)};
  return chunk;
}

TEST(Outbox, WritesOneAtATimeAndMergesWhatComesMeanwhile) {
  RecordingWriter writer;
  Outbox outbox(&writer, 1000);
  EXPECT_TRUE(outbox.Add(Chunk("a", 1)));
  EXPECT_TRUE(outbox.Add(Chunk("b", 2)));
  EXPECT_TRUE(outbox.Add(Chunk("c", 3)));
  ASSERT_EQ(writer.chunks().size(), 1u);
  outbox.OnWritten();
  ASSERT_EQ(writer.chunks().size(), 2u);
  EXPECT_EQ(writer.chunks()[1].bytes, "bc");
  EXPECT_THAT(writer.chunks()[1].tokens, ElementsAre(2, 3));
  EXPECT_THAT(writer.chunks()[1].logprobs, ElementsAre(-2.0f, -3.0f));
  outbox.OnWritten();
  EXPECT_EQ(writer.chunks().size(), 2u);
  EXPECT_TRUE(outbox.Add(Chunk("d", 4)));
  EXPECT_EQ(writer.text(), "abcd");
}

TEST(Outbox, TheEndWaitsForTheWriteAndTakesWhatWaits) {
  RecordingWriter writer;
  Outbox outbox(&writer, 1000);
  EXPECT_TRUE(outbox.Add(Chunk("a", 1)));
  EXPECT_TRUE(outbox.Add(Chunk("b", 2)));
  outbox.Finish(Chunk("c", 3), {.finish = FinishReason::kLength, .completion_tokens = 3});
  EXPECT_FALSE(writer.ended());
  outbox.OnWritten();
  ASSERT_TRUE(writer.ended());
  EXPECT_EQ(writer.chunks().back().bytes, "bc");
  EXPECT_EQ(writer.end()->completion_tokens, 3);
  outbox.Fail({ErrorCode::kInternal, "too late", ""});
  EXPECT_TRUE(outbox.Add(Chunk("d", 4)));
  outbox.OnWritten();
  EXPECT_EQ(writer.text(), "abc");
  EXPECT_FALSE(writer.error().has_value());
}

TEST(Outbox, BoundsWhatWaitsBehindAWrite) {
  RecordingWriter writer;
  Outbox outbox(&writer, 20);  // two chunks of 1 byte and 1 token take 18
  EXPECT_TRUE(outbox.Add(Chunk(std::string(100, 'x'), 0)));  // goes out at once: not slow
  EXPECT_TRUE(outbox.Add(Chunk("a", 1)));
  EXPECT_TRUE(outbox.Add(Chunk("b", 2)));
  EXPECT_FALSE(outbox.Add(Chunk("c", 3)));
  outbox.Fail({ErrorCode::kSlowReader, "slow", ""});
  EXPECT_FALSE(writer.ended());
  outbox.OnWritten();
  ASSERT_TRUE(writer.ended());
  EXPECT_EQ(writer.error()->code, ErrorCode::kSlowReader);
  EXPECT_EQ(writer.text(), std::string(100, 'x'));
}

TEST(Outbox, RoomComesBackWithEachWrite) {
  RecordingWriter writer;
  Outbox outbox(&writer, 20);
  EXPECT_TRUE(outbox.Add(Chunk("a", 1)));
  for (int i = 0; i < 100; ++i) {
    EXPECT_TRUE(outbox.Add(Chunk("b", 2)));
    EXPECT_TRUE(outbox.Add(Chunk("c", 3)));
    outbox.OnWritten();
  }
  EXPECT_EQ(writer.chunks().size(), 101u);
}

}  // namespace
}  // namespace pamir::gateway
