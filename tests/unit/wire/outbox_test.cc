#include "cluster/wire/outbox.h"

#include <gtest/gtest.h>

namespace pamir::wire {
namespace {

Frame FrameOf(size_t bytes) { return std::make_shared<std::string>(bytes, 'x'); }

TEST(OutboxTest, OneWriteAtATimeInOrder) {
  Outbox outbox;
  EXPECT_TRUE(outbox.flushed());
  EXPECT_FALSE(outbox.StartWrite().has_value());
  ASSERT_TRUE(outbox.Push(FrameOf(1)));
  ASSERT_TRUE(outbox.Push(FrameOf(2)));
  EXPECT_EQ((*outbox.StartWrite())->size(), 1u);
  EXPECT_FALSE(outbox.StartWrite().has_value());
  EXPECT_FALSE(outbox.flushed());
  outbox.WriteDone();
  EXPECT_EQ((*outbox.StartWrite())->size(), 2u);
  EXPECT_FALSE(outbox.flushed());
  outbox.WriteDone();
  EXPECT_TRUE(outbox.flushed());
}

TEST(OutboxTest, IsBounded) {
  Outbox outbox;
  for (size_t i = 0; i < kMaxOutboxFrames; ++i) ASSERT_TRUE(outbox.Push(FrameOf(1)));
  EXPECT_FALSE(outbox.Push(FrameOf(1)));
  outbox.Clear();
  ASSERT_TRUE(outbox.Push(FrameOf(kMaxOutboxBytes)));
  EXPECT_FALSE(outbox.Push(FrameOf(1)));
  EXPECT_TRUE(outbox.StartWrite().has_value());  // what is being written is out of the queue
  EXPECT_TRUE(outbox.Push(FrameOf(1)));
}

}  // namespace
}  // namespace pamir::wire
