#include "gateway/outbox.h"

#include <utility>

namespace pamir::gateway {
namespace {

size_t BytesOf(const flow::TextChunk& chunk) {
  return chunk.bytes.size() + chunk.tokens.size() * (sizeof(TokenId) + sizeof(float));
}

void Append(flow::TextChunk& to, const flow::TextChunk& from) {
  to.bytes += from.bytes;
  to.tokens.insert(to.tokens.end(), from.tokens.begin(), from.tokens.end());
  to.logprobs.insert(to.logprobs.end(), from.logprobs.begin(), from.logprobs.end());
}

}  // namespace

Outbox::Outbox(ChunkWriter* writer, size_t max_unread_bytes)
    : max_unread_bytes_(max_unread_bytes), writer_(writer) {}

bool Outbox::Add(flow::TextChunk chunk) {
  absl::MutexLock lock(&mutex_);
  if (end_.has_value()) return true;  // nobody will read it
  const size_t before = waiting_.has_value() ? BytesOf(*waiting_) : 0;
  // Without a write under way nothing waits, and the client is not slow, however large the chunk.
  if (writing_ && before + BytesOf(chunk) > max_unread_bytes_) return false;
  Merge(std::move(chunk));
  Pump();
  return true;
}

void Outbox::Merge(flow::TextChunk chunk) {
  if (waiting_.has_value()) {
    Append(*waiting_, chunk);
  } else {
    waiting_ = std::move(chunk);
  }
}

void Outbox::Finish(flow::TextChunk last, GenerateEnd end) {
  absl::MutexLock lock(&mutex_);
  if (end_.has_value()) return;
  Merge(std::move(last));
  end_ = std::move(end);
  Pump();
}

void Outbox::Fail(ApiError error) {
  absl::MutexLock lock(&mutex_);
  if (end_.has_value()) return;
  end_ = std::move(error);
  waiting_.reset();
  Pump();
}

void Outbox::OnWritten() {
  absl::MutexLock lock(&mutex_);
  writing_ = false;
  Pump();
}

void Outbox::Pump() {
  if (writing_ || writer_ == nullptr) return;
  if (end_.has_value()) {
    ChunkWriter* const writer = std::exchange(writer_, nullptr);
    if (const auto* error = std::get_if<ApiError>(&*end_)) {
      writer->WriteError(*error);
    } else {
      writer->WriteLast(std::move(waiting_).value_or(flow::TextChunk{}),
                        std::move(std::get<GenerateEnd>(*end_)));
    }
    waiting_.reset();
    return;
  }
  if (!waiting_.has_value()) return;
  writing_ = true;
  flow::TextChunk chunk = *std::exchange(waiting_, std::nullopt);
  writer_->WriteChunk(std::move(chunk));
}

}  // namespace pamir::gateway
