// What one stream still has to send. gRPC allows one write at a time and no end before it is done;
// this keeps that order for both sides. Not thread-safe: the stream's mutex guards it.
#ifndef PAMIR_CLUSTER_WIRE_OUTBOX_H_
#define PAMIR_CLUSTER_WIRE_OUTBOX_H_

#include <cstddef>
#include <deque>
#include <optional>
#include <utility>

#include "cluster/wire/convert.h"

namespace pamir::wire {

inline constexpr size_t kMaxOutboxFrames = 1024;
inline constexpr size_t kMaxOutboxBytes = 2 * kMaxFrameBytes;

class Outbox {
 public:
  // False: full.
  bool Push(Frame frame) {
    if (frames_.size() >= kMaxOutboxFrames || bytes_ + frame->size() > kMaxOutboxBytes) {
      return false;
    }
    bytes_ += frame->size();
    frames_.push_back(std::move(frame));
    return true;
  }

  // The next frame to write, if none is being written; then one is.
  std::optional<Frame> StartWrite() {
    if (writing_ || frames_.empty()) return std::nullopt;
    writing_ = true;
    Frame frame = std::move(frames_.front());
    frames_.pop_front();
    bytes_ -= frame->size();
    return frame;
  }

  void WriteDone() { writing_ = false; }

  void Clear() {
    frames_.clear();
    bytes_ = 0;
  }

  bool writing() const { return writing_; }
  bool flushed() const { return !writing_ && frames_.empty(); }

 private:
  std::deque<Frame> frames_;
  size_t bytes_ = 0;
  bool writing_ = false;
};

}  // namespace pamir::wire

#endif  // PAMIR_CLUSTER_WIRE_OUTBOX_H_
