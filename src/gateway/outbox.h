// Between the tokens of a stream and its connection: one write at a time, what comes meanwhile is
// merged into one waiting chunk, and that chunk has a limit.
#ifndef PAMIR_GATEWAY_OUTBOX_H_
#define PAMIR_GATEWAY_OUTBOX_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "base/ids.h"
#include "core/flow/text_chunk.h"
#include "pamir/errors.h"
#include "pamir/sampling.h"

namespace pamir::gateway {

// How a stream ended well.
struct GenerateEnd {
  FinishReason finish = FinishReason::kNone;
  int32_t completion_tokens = 0;
  std::vector<TokenId> prompt;
  uint64_t seed = 0;
};

// A door's connection. Called one at a time, under the outbox's lock: must not block and must not
// call the outbox back from inside. After WriteLast or WriteError it is never called again, so it
// may go.
class ChunkWriter {
 public:
  virtual ~ChunkWriter() = default;
  // The next call comes only after Outbox::OnWritten.
  virtual void WriteChunk(flow::TextChunk chunk) = 0;
  // `chunk` may be empty.
  virtual void WriteLast(flow::TextChunk chunk, GenerateEnd end) = 0;
  virtual void WriteError(const ApiError& error) = 0;
};

// Thread-safe.
class Outbox {
 public:
  // max_unread_bytes: of the chunk that waits behind a write (its text, and 8 for each token).
  Outbox(ChunkWriter* writer, size_t max_unread_bytes);

  // False when the client is too slow: the chunk is dropped, and Fail should follow.
  [[nodiscard]] bool Add(flow::TextChunk chunk);
  // The end; only the first of these two counts. Finish sends `last` with what waits; Fail drops
  // what waits. Both wait for the write that is under way.
  void Finish(flow::TextChunk last, GenerateEnd end);
  void Fail(ApiError error);

  // The last WriteChunk is done.
  void OnWritten();

 private:
  void Merge(flow::TextChunk chunk) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Pump() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const size_t max_unread_bytes_;
  absl::Mutex mutex_;
  ChunkWriter* writer_ ABSL_GUARDED_BY(mutex_);  // null once it may have gone
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<flow::TextChunk> waiting_ ABSL_GUARDED_BY(mutex_);
  std::optional<std::variant<GenerateEnd, ApiError>> end_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace pamir::gateway

#endif  // PAMIR_GATEWAY_OUTBOX_H_
