// What is behind fake_cuda.h: work, streams, events and graphs. Locks: run_mu_ (held while queued
// work is done, so one thread at a time does it) before mu_ (never held while work is done).
#ifndef PAMIR_TESTS_SUPPORT_FAKE_CUDA_STATE_H_
#define PAMIR_TESTS_SUPPORT_FAKE_CUDA_STATE_H_

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/stream.h"
#include "support/fake_cuda/fake_cuda.h"
#include "support/fake_cuda/memory.h"

namespace pamir::testing {

// CUDA's numbers.
inline constexpr int kInvalidValue = 1, kOutOfMemory = 2, kNoDevice = 100, kInvalidDevice = 101,
                     kInvalidHandle = 400, kIllegalState = 401, kCaptureUnsupported = 900,
                     kCaptureInvalidated = 901, kCaptureMerge = 902, kCaptureUnmatched = 903,
                     kCaptureUnjoined = 904, kCaptureIsolation = 905, kCaptureImplicit = 906,
                     kCapturedEvent = 907;

struct Range {
  const char* argument = nullptr;
  const void* data = nullptr;
  int64_t bytes = 0;
};

struct Work {
  enum class Kind { kKernel, kCopyToDevice, kCopyToHost, kCopyWithin, kFill, kGraph, kWait };
  const char* name = nullptr;
  Kind kind = Kind::kKernel;
  int64_t bytes = 0;  // copies
  std::vector<Range>
      ranges;  // device memory that it touches, looked up when it is enqueued and run
  std::function<void()> run;
  int device = 0;
};

struct Capture;

struct Stream {
  int device = 0;
  std::deque<Work> queue;
  int64_t enqueued = 0;
  int64_t done = 0;
  std::shared_ptr<Capture> capture;  // null while it is not captured
};

// How much of each captured stream's work lies before a point.
using Clock = std::map<const Stream*, int64_t>;

struct Capture {
  std::shared_ptr<Stream> origin;
  std::thread::id thread;
  std::map<std::shared_ptr<Stream>, Clock> clocks;
  std::vector<Work> works;
  int error = 0;
};

struct Event {
  bool timed = false;
  std::shared_ptr<Stream> stream;  // null: never recorded
  int64_t at = 0;
  std::shared_ptr<Capture> capture;  // where it was recorded in one
  Clock clock;
  std::chrono::steady_clock::time_point time;
};

struct Graph {
  std::vector<Work> works;
  int device = 0;
};

class FakeState {
 public:
  explicit FakeState(const FakeCudaOptions& options);
  ~FakeState();

  // The installed one; dies where there is none.
  static FakeState& Current();

  FakeMemory memory;
  const FakeCudaOptions options;

  // Every call but launches ends with this: 0, the error that stays, or `error`, which last_error
  // gives once more to the thread.
  int Return(int error);
  int ReturnLaunch(int error);  // a launch may lose the device and not know it
  int TakeLastError();
  int lost_error() const;
  bool frozen() const;
  int64_t memory_limit() const;

  // The calling thread's device.
  static int device();
  static void set_device(int device);

  // Error 900, also for the capture, if the calling thread captures a stream: waiting and
  // allocating are forbidden meanwhile. Else 0.
  int ForbidInCapture();
  bool IsCaptured(StreamRef stream);
  int BreakCapture(StreamRef stream);  // error 900, and the capture is spoilt

  int Enqueue(StreamRef stream, Work work);

  int CreateStream(StreamRef* stream);
  int DestroyStream(StreamRef stream);
  int SynchronizeStream(StreamRef stream);
  int SynchronizeDevice();
  void FinishStream(StreamRef stream);  // as synchronising does, but nobody asked for it
  void FinishDevice();
  int CreateEvent(bool timed, void** event);
  int DestroyEvent(void* event);
  int RecordEvent(void* event, StreamRef stream);
  int WaitEvent(StreamRef stream, void* event);
  int SynchronizeEvent(void* event);
  int EventDone(void* event, bool* done);
  int ElapsedMs(void* begin, void* end, float* milliseconds);

  int BeginCapture(StreamRef stream);
  int EndCapture(StreamRef stream, void** graph);
  int LaunchGraph(void* graph, StreamRef stream);
  int DestroyGraph(void* graph);

  void AddHandle(const void* handle, const char* what);  // other kinds of handles, to find leaks
  void RemoveHandle(const void* handle, const char* what);

  void SetMemory(int64_t bytes);
  void Freeze(bool frozen);
  void FailLaunch(int64_t n, int error, bool late);
  FakeCudaCounts counts() const;
  int64_t kernels_of(const std::string& name) const;
  void ResetCounts();

 private:
  std::shared_ptr<Stream> StreamOf(StreamRef stream) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::shared_ptr<Event> EventOf(void* event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  int CaptureWork(Stream& stream, Work work) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  int JoinCapture(const std::shared_ptr<Stream>& stream, const Event& event)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  int CaptureError(const std::shared_ptr<Stream>& stream) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // The error of a launch that a test wants to fail; counts the launch.
  int Inject(const Work& work, bool* skip) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CheckRanges(const Work& work) const;
  void Run(const Work& work);
  void Drain(const std::shared_ptr<Stream>& stream, int64_t until)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(run_mu_);

  absl::Mutex run_mu_ ABSL_ACQUIRED_BEFORE(mu_);
  mutable absl::Mutex mu_;
  std::map<const void*, std::shared_ptr<Stream>> streams_ ABSL_GUARDED_BY(mu_);
  std::vector<std::shared_ptr<Stream>> default_streams_ ABSL_GUARDED_BY(mu_);
  std::map<const void*, std::shared_ptr<Event>> events_ ABSL_GUARDED_BY(mu_);
  std::map<const void*, std::shared_ptr<Graph>> graphs_ ABSL_GUARDED_BY(mu_);
  std::map<const void*, std::string> handles_ ABSL_GUARDED_BY(mu_);
  std::vector<std::shared_ptr<Capture>> captures_ ABSL_GUARDED_BY(mu_);
  FakeCudaCounts counts_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, int64_t> kernels_ ABSL_GUARDED_BY(mu_);
  int64_t memory_limit_ ABSL_GUARDED_BY(mu_);
  bool frozen_ ABSL_GUARDED_BY(mu_) = false;
  int lost_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t launches_until_failure_ ABSL_GUARDED_BY(mu_) = 0;  // 0: none is to fail
  int failure_ ABSL_GUARDED_BY(mu_) = 0;
  bool failure_is_late_ ABSL_GUARDED_BY(mu_) = false;
};

// Dies, naming function and argument, where the range does not lie inside one live allocation of
// the device (-1: of any). For what only the data tell, while a kernel runs.
void CheckDeviceRange(const char* function, int device, const Range& range);

}  // namespace pamir::testing

#endif  // PAMIR_TESTS_SUPPORT_FAKE_CUDA_STATE_H_
