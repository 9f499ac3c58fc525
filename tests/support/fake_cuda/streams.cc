// Streams and events: when work is done. Where it is not queued, it is done when it is enqueued,
// and nothing here has to wait.
#include <utility>

#include "base/check.h"
#include "support/fake_cuda/state.h"

namespace pamir::testing {

std::shared_ptr<Stream> FakeState::StreamOf(StreamRef ref) {
  if (ref.handle == nullptr) return default_streams_[static_cast<size_t>(device())];
  const auto found = streams_.find(ref.handle);
  PAMIR_CHECK(found != streams_.end(), "a stream that was destroyed, or never made, is used");
  return found->second;
}

std::shared_ptr<Event> FakeState::EventOf(void* event) {
  const auto found = events_.find(event);
  PAMIR_CHECK(found != events_.end(), "an event that was destroyed, or never made, is used");
  return found->second;
}

// Does the stream's work up to number `until`.
void FakeState::Drain(const std::shared_ptr<Stream>& stream, int64_t until) {
  while (true) {
    Work work;
    {
      absl::MutexLock lock(&mu_);
      if (stream->done >= until || stream->queue.empty()) return;
      work = std::move(stream->queue.front());
      stream->queue.pop_front();
    }
    Run(work);
    absl::MutexLock lock(&mu_);
    ++stream->done;
  }
}

int FakeState::CreateStream(StreamRef* ref) {
  auto stream = std::make_shared<Stream>();
  stream->device = device();
  absl::MutexLock lock(&mu_);
  ref->handle = stream.get();
  streams_[ref->handle] = stream;
  return 0;
}

int FakeState::DestroyStream(StreamRef ref) {
  PAMIR_CHECK(!IsCaptured(ref), "a stream is destroyed while it is captured");
  FinishStream(ref);
  absl::MutexLock lock(&mu_);
  streams_.erase(ref.handle);
  return 0;
}

void FakeState::FinishStream(StreamRef ref) {
  std::shared_ptr<Stream> stream;
  {
    absl::MutexLock lock(&mu_);
    stream = StreamOf(ref);
  }
  absl::MutexLock running(&run_mu_);
  Drain(stream, INT64_MAX);
}

void FakeState::FinishDevice() {
  std::vector<std::shared_ptr<Stream>> streams;
  {
    absl::MutexLock lock(&mu_);
    for (const auto& stream : default_streams_) streams.push_back(stream);
    for (const auto& [handle, stream] : streams_) streams.push_back(stream);
  }
  absl::MutexLock running(&run_mu_);
  for (const auto& stream : streams) {
    if (stream->device == device()) Drain(stream, INT64_MAX);
  }
}

int FakeState::SynchronizeStream(StreamRef ref) {
  {
    absl::MutexLock lock(&mu_);
    if (const int error = CaptureError(StreamOf(ref))) return error;
    ++counts_.synchronizations;
  }
  FinishStream(ref);
  return 0;
}

int FakeState::SynchronizeDevice() {
  {
    absl::MutexLock lock(&mu_);
    if (const int error = CaptureError(nullptr)) return error;
    ++counts_.synchronizations;
  }
  FinishDevice();
  return 0;
}

int FakeState::CreateEvent(bool timed, void** event) {
  auto made = std::make_shared<Event>();
  made->timed = timed;
  absl::MutexLock lock(&mu_);
  *event = made.get();
  events_[*event] = made;
  return 0;
}

int FakeState::DestroyEvent(void* event) {
  absl::MutexLock lock(&mu_);
  EventOf(event);
  events_.erase(event);
  return 0;
}

int FakeState::RecordEvent(void* handle, StreamRef ref) {
  absl::MutexLock lock(&mu_);
  const auto event = EventOf(handle);
  event->stream = StreamOf(ref);
  event->at = event->stream->enqueued;
  event->capture = event->stream->capture;
  event->time = std::chrono::steady_clock::now();
  if (event->capture == nullptr) return 0;
  event->clock = event->capture->clocks[event->stream];
  return event->capture->error;
}

int FakeState::WaitEvent(StreamRef ref, void* handle) {
  Work work;
  {
    absl::MutexLock lock(&mu_);
    const auto stream = StreamOf(ref);
    const auto event = EventOf(handle);
    if (stream->capture != nullptr || event->capture != nullptr) return JoinCapture(stream, *event);
    if (event->stream == nullptr || !options.queued) return 0;
    work.name = "wait_event";
    work.kind = Work::Kind::kWait;
    work.run = [this, other = event->stream, at = event->at]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
      Drain(other, at);  // whoever runs this holds run_mu_
    };
  }
  return Enqueue(ref, std::move(work));
}

int FakeState::SynchronizeEvent(void* handle) {
  std::shared_ptr<Event> event;
  {
    absl::MutexLock lock(&mu_);
    event = EventOf(handle);
    if (event->capture != nullptr) return kCapturedEvent;
    if (const int error = CaptureError(nullptr)) return error;
    ++counts_.synchronizations;
    if (event->stream == nullptr) return 0;
  }
  absl::MutexLock running(&run_mu_);
  Drain(event->stream, event->at);
  return 0;
}

// Queued work gets nearer to its end by one piece a question.
int FakeState::EventDone(void* handle, bool* done) {
  *done = false;
  std::shared_ptr<Event> event;
  int64_t until = 0;
  {
    absl::MutexLock lock(&mu_);
    event = EventOf(handle);
    if (event->capture != nullptr) return kCapturedEvent;
    if (const int error = CaptureError(nullptr)) return error;
    *done = event->stream == nullptr || event->stream->done >= event->at;
    if (*done) return 0;
    until = event->stream->done + 1;
  }
  absl::MutexLock running(&run_mu_);
  Drain(event->stream, until);
  return 0;
}

int FakeState::ElapsedMs(void* begin, void* end, float* milliseconds) {
  absl::MutexLock lock(&mu_);
  const auto first = EventOf(begin), last = EventOf(end);
  if (!first->timed || !last->timed || first->stream == nullptr || last->stream == nullptr) {
    return kInvalidHandle;
  }
  *milliseconds = std::chrono::duration<float, std::milli>(last->time - first->time).count();
  return 0;
}

}  // namespace pamir::testing
