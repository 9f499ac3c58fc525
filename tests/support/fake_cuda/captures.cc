// Stream capture and graphs. A stream joins a capture by waiting for an event that was recorded in
// it; each captured stream has a clock that says which work lies before its next piece, so that the
// end can tell whether all streams were joined again.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "support/fake_cuda/state.h"

namespace pamir::testing {
namespace {

void Merge(const Clock& from, Clock* into) {
  for (const auto& [stream, count] : from) {
    int64_t& mine = (*into)[stream];
    mine = std::max(mine, count);
  }
}

int64_t At(const Clock& clock, const Stream* stream) {
  const auto found = clock.find(stream);
  return found == clock.end() ? 0 : found->second;
}

bool Joined(const Capture& capture) {
  const Clock& origin = capture.clocks.at(capture.origin);
  return std::all_of(capture.clocks.begin(), capture.clocks.end(), [&](const auto& entry) {
    const Stream* stream = entry.first.get();
    return At(origin, stream) >= At(entry.second, stream);
  });
}

}  // namespace

int FakeState::CaptureWork(Stream& stream, Work work) {
  Capture& capture = *stream.capture;
  if (capture.error != 0) return capture.error;
  for (auto& [member, clock] : capture.clocks) {
    if (member.get() == &stream) ++clock[&stream];
  }
  capture.works.push_back(std::move(work));
  return 0;
}

int FakeState::JoinCapture(const std::shared_ptr<Stream>& stream, const Event& event) {
  if (event.capture == nullptr) {
    if (event.stream == nullptr) return 0;  // never recorded: nothing to wait for
    stream->capture->error = kCaptureInvalidated;
    return kCaptureIsolation;
  }
  if (stream->capture == nullptr) stream->capture = event.capture;
  if (stream->capture != event.capture) {
    stream->capture->error = kCaptureInvalidated;
    return kCaptureMerge;
  }
  Merge(event.clock, &stream->capture->clocks[stream]);
  return stream->capture->error;
}

// The error of waiting for a stream (null: for no captured one) now.
int FakeState::CaptureError(const std::shared_ptr<Stream>& stream) {
  const auto mine = [&](const std::shared_ptr<Capture>& capture) {
    return capture->thread == std::this_thread::get_id() ||
           (stream != nullptr && stream->capture == capture);
  };
  const auto found = std::find_if(captures_.begin(), captures_.end(), mine);
  if (found == captures_.end()) return 0;
  (*found)->error = kCaptureInvalidated;
  return kCaptureUnsupported;
}

int FakeState::ForbidInCapture() {
  absl::MutexLock lock(&mu_);
  return CaptureError(nullptr);
}

bool FakeState::IsCaptured(StreamRef ref) {
  absl::MutexLock lock(&mu_);
  return StreamOf(ref)->capture != nullptr;
}

int FakeState::BreakCapture(StreamRef ref) {
  absl::MutexLock lock(&mu_);
  StreamOf(ref)->capture->error = kCaptureInvalidated;
  return kCaptureUnsupported;
}

int FakeState::BeginCapture(StreamRef ref) {
  absl::MutexLock lock(&mu_);
  if (ref.handle == nullptr) return kCaptureUnsupported;  // the default stream
  const auto stream = StreamOf(ref);
  if (stream->capture != nullptr) return kIllegalState;
  auto capture = std::make_shared<Capture>();
  capture->origin = stream;
  capture->thread = std::this_thread::get_id();
  capture->clocks[stream];
  stream->capture = capture;
  captures_.push_back(std::move(capture));
  return 0;
}

int FakeState::EndCapture(StreamRef ref, void** graph) {
  *graph = nullptr;
  absl::MutexLock lock(&mu_);
  const auto stream = StreamOf(ref);
  const auto capture = stream->capture;
  if (capture == nullptr) return kIllegalState;
  if (capture->origin != stream) return kCaptureUnmatched;
  if (capture->thread != std::this_thread::get_id()) return kIllegalState;
  const bool joined = Joined(*capture);
  for (const auto& [member, clock] : capture->clocks) member->capture = nullptr;
  for (const auto& [handle, event] : events_) {
    if (event->capture == capture) event->stream = nullptr, event->capture = nullptr;
  }
  captures_.erase(std::find(captures_.begin(), captures_.end(), capture));
  capture->clocks.clear();
  if (capture->error != 0) return capture->error;
  if (!joined) return kCaptureUnjoined;
  auto made = std::make_shared<Graph>();
  made->works = std::move(capture->works);
  made->device = stream->device;
  *graph = made.get();
  graphs_[*graph] = made;
  return 0;
}

int FakeState::LaunchGraph(void* handle, StreamRef ref) {
  Work work;
  {
    absl::MutexLock lock(&mu_);
    const auto found = graphs_.find(handle);
    PAMIR_CHECK(found != graphs_.end(), "a graph that was destroyed, or never made, is launched");
    if (StreamOf(ref)->capture != nullptr) return kCaptureUnsupported;
    work.name = "launch_graph";
    work.kind = Work::Kind::kGraph;
    work.run = [this, graph = found->second] {
      for (const Work& step : graph->works) Run(step);
    };
  }
  return Enqueue(ref, std::move(work));
}

int FakeState::DestroyGraph(void* handle) {
  absl::MutexLock lock(&mu_);
  PAMIR_CHECK(graphs_.erase(handle) == 1, "a graph that is none is destroyed");
  return 0;
}

}  // namespace pamir::testing
