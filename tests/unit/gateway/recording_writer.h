// A connection that keeps what it was told; the test says when a write is done.
#ifndef PAMIR_TESTS_UNIT_GATEWAY_RECORDING_WRITER_H_
#define PAMIR_TESTS_UNIT_GATEWAY_RECORDING_WRITER_H_

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "gateway/outbox.h"
#include "gtest/gtest.h"

namespace pamir::gateway {

class RecordingWriter final : public ChunkWriter {
 public:
  void WriteChunk(flow::TextChunk chunk) override {
    absl::MutexLock lock(&mutex_);
    EXPECT_FALSE(ended_) << "written to after the end";
    chunks_.push_back(std::move(chunk));
  }
  void WriteLast(flow::TextChunk chunk, GenerateEnd end) override {
    absl::MutexLock lock(&mutex_);
    EXPECT_FALSE(ended_) << "ended twice";
    chunks_.push_back(std::move(chunk));
    end_ = std::move(end);
    ended_ = true;
  }
  void WriteError(const ApiError& error) override {
    absl::MutexLock lock(&mutex_);
    EXPECT_FALSE(ended_) << "ended twice";
    error_ = error;
    ended_ = true;
  }

  void WaitEnded() const {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(&ended_));
  }
  // Waits until so many chunks were written (the last one counts).
  void WaitChunks(size_t count) const {
    absl::MutexLock lock(&mutex_);
    const auto enough = [this, count]()
                            ABSL_NO_THREAD_SAFETY_ANALYSIS { return chunks_.size() >= count; };
    mutex_.Await(absl::Condition(&enough));
  }
  bool ended() const {
    absl::MutexLock lock(&mutex_);
    return ended_;
  }
  std::vector<flow::TextChunk> chunks() const {
    absl::MutexLock lock(&mutex_);
    return chunks_;
  }
  std::string text() const {
    std::string all;
    for (const flow::TextChunk& chunk : chunks()) all += chunk.bytes;
    return all;
  }
  std::vector<TokenId> tokens() const {
    std::vector<TokenId> all;
    for (const auto& chunk : chunks()) {
      all.insert(all.end(), chunk.tokens.begin(), chunk.tokens.end());
    }
    return all;
  }
  std::optional<GenerateEnd> end() const {
    absl::MutexLock lock(&mutex_);
    return end_;
  }
  std::optional<ApiError> error() const {
    absl::MutexLock lock(&mutex_);
    return error_;
  }

 private:
  mutable absl::Mutex mutex_;
  std::vector<flow::TextChunk> chunks_ ABSL_GUARDED_BY(mutex_);
  std::optional<GenerateEnd> end_ ABSL_GUARDED_BY(mutex_);
  std::optional<ApiError> error_ ABSL_GUARDED_BY(mutex_);
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace pamir::gateway

#endif  // PAMIR_TESTS_UNIT_GATEWAY_RECORDING_WRITER_H_
