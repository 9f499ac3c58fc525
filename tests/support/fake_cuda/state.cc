#include "support/fake_cuda/state.h"

#include <atomic>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace pamir::testing {
namespace {

std::atomic<FakeState*> installed{nullptr};

struct ThreadState {
  int device = 0;
  int last_error = 0;
};
thread_local ThreadState thread_state;

std::string Place(const FakeMemory::Block& block, const Range& range) {
  const int64_t offset = static_cast<const char*>(range.data) - block.data;
  return absl::StrCat(std::string(Name(block.kind)), " of ", block.bytes, " bytes, from byte ",
                      offset);
}

}  // namespace

void CheckDeviceRange(const char* function, int device, const Range& range) {
  if (range.bytes == 0) return;
  const std::string what = absl::StrCat(std::string(function), ": ", std::string(range.argument),
                                        " (", range.bytes, " bytes) ");
  PAMIR_CHECK(range.bytes > 0, absl::StrCat(what, "has a negative size"));
  const auto block = FakeState::Current().memory.Find(range.data);
  PAMIR_CHECK(block.has_value() && block->kind == FakeMemory::Kind::kDevice,
              absl::StrCat(what, "is not in live device memory",
                           block.has_value() ? absl::StrCat(": ", Place(*block, range)) : ""));
  const int64_t offset = static_cast<const char*>(range.data) - block->data;
  PAMIR_CHECK(range.bytes <= block->bytes - offset,
              absl::StrCat(what, "passes the end of its ", Place(*block, range)));
  PAMIR_CHECK(device < 0 || device == block->device,
              absl::StrCat(what, "lies on device ", block->device, ", the stream on ", device));
}

FakeState::FakeState(const FakeCudaOptions& the_options)
    : options(the_options), memory_limit_(the_options.memory_bytes) {
  FakeState* none = nullptr;
  PAMIR_CHECK(installed.compare_exchange_strong(none, this), "a FakeCuda is there already");
  thread_state = {};
  absl::MutexLock lock(&mu_);
  for (int i = 0; i < options.devices; ++i) {
    default_streams_.push_back(std::make_shared<Stream>());
    default_streams_.back()->device = i;
  }
}

FakeState::~FakeState() {
  absl::MutexLock lock(&mu_);
  std::string leaks = memory.Leaks();
  const auto add = [&](size_t count, const char* what) {
    if (count > 0) absl::StrAppend(&leaks, leaks.empty() ? "" : ", ", count, " ", what);
  };
  add(streams_.size(), "streams");
  add(events_.size(), "events");
  add(graphs_.size(), "graphs");
  add(handles_.size(), "handles of products");
  PAMIR_CHECK(leaks.empty(), absl::StrCat("not given back to the fake device: ", leaks));
  installed.store(nullptr);
}

FakeState& FakeState::Current() {
  FakeState* state = installed.load();
  PAMIR_CHECK(state != nullptr, "the fake device was called before or after its FakeCuda lived");
  return *state;
}

int FakeState::device() { return thread_state.device; }
void FakeState::set_device(int device) { thread_state.device = device; }

int FakeState::Return(int error) {
  const int lost = lost_error();
  return ReturnLaunch(lost != 0 ? lost : error);
}

int FakeState::ReturnLaunch(int error) {
  if (error != 0) thread_state.last_error = error;
  return error;
}

int FakeState::TakeLastError() {
  const int lost = lost_error();
  return lost != 0 ? lost : std::exchange(thread_state.last_error, 0);
}

int FakeState::lost_error() const {
  absl::MutexLock lock(&mu_);
  return lost_;
}

bool FakeState::frozen() const {
  absl::MutexLock lock(&mu_);
  return frozen_;
}

int64_t FakeState::memory_limit() const {
  absl::MutexLock lock(&mu_);
  return memory_limit_;
}

int FakeState::Enqueue(StreamRef ref, Work work) {
  std::shared_ptr<Stream> stream;
  {
    absl::MutexLock lock(&mu_);
    if (lost_ != 0) return lost_;
    stream = StreamOf(ref);
    if (stream->device != device()) return kInvalidHandle;
    work.device = stream->device;
  }
  CheckRanges(work);
  {
    absl::MutexLock lock(&mu_);
    if (stream->capture != nullptr) return CaptureWork(*stream, std::move(work));
    bool skip = false;
    const int error = Inject(work, &skip);
    if (skip) return error;
    ++stream->enqueued;
    if (options.queued) {
      stream->queue.push_back(std::move(work));
      return 0;
    }
  }
  Run(work);
  absl::MutexLock lock(&mu_);
  ++stream->done;
  return 0;
}

int FakeState::Inject(const Work& work, bool* skip) {
  if (work.kind != Work::Kind::kKernel && work.kind != Work::Kind::kGraph) return 0;
  ++(work.kind == Work::Kind::kKernel ? counts_.launches : counts_.graph_launches);
  if (launches_until_failure_ == 0 || --launches_until_failure_ > 0) return 0;
  *skip = true;
  lost_ = failure_;
  return failure_is_late_ ? 0 : failure_;
}

void FakeState::CheckRanges(const Work& work) const {
  for (const Range& range : work.ranges) CheckDeviceRange(work.name, work.device, range);
}

void FakeState::Run(const Work& work) {
  {
    absl::MutexLock lock(&mu_);
    if (lost_ != 0) return;
    if (work.kind == Work::Kind::kKernel) {
      ++counts_.kernels;
      ++kernels_[work.name];
    } else if (work.kind == Work::Kind::kCopyToDevice) {
      ++counts_.copies_to_device;
      counts_.bytes_to_device += work.bytes;
    } else if (work.kind == Work::Kind::kCopyToHost) {
      ++counts_.copies_to_host;
      counts_.bytes_to_host += work.bytes;
    } else if (work.kind == Work::Kind::kCopyWithin) {
      ++counts_.copies_within;
    } else if (work.kind == Work::Kind::kFill) {
      ++counts_.fills;
    }
  }
  CheckRanges(work);  // once more: what was captured or queued may have been released since
  work.run();
}

void FakeState::AddHandle(const void* handle, const char* what) {
  absl::MutexLock lock(&mu_);
  handles_[handle] = what;
}

void FakeState::RemoveHandle(const void* handle, const char* what) {
  absl::MutexLock lock(&mu_);
  const auto found = handles_.find(handle);
  PAMIR_CHECK(found != handles_.end() && found->second == what,
              absl::StrCat("closing what is no open ", std::string(what)));
  handles_.erase(found);
}

void FakeState::SetMemory(int64_t bytes) {
  absl::MutexLock lock(&mu_);
  memory_limit_ = bytes;
}

void FakeState::Freeze(bool frozen) {
  absl::MutexLock lock(&mu_);
  frozen_ = frozen;
}

void FakeState::FailLaunch(int64_t n, int error, bool late) {
  absl::MutexLock lock(&mu_);
  launches_until_failure_ = n;
  failure_ = error;
  failure_is_late_ = late;
}

FakeCudaCounts FakeState::counts() const {
  absl::MutexLock lock(&mu_);
  return counts_;
}

int64_t FakeState::kernels_of(const std::string& name) const {
  absl::MutexLock lock(&mu_);
  const auto found = kernels_.find(name);
  return found == kernels_.end() ? 0 : found->second;
}

void FakeState::ResetCounts() {
  absl::MutexLock lock(&mu_);
  counts_ = {};
  kernels_.clear();
}

}  // namespace pamir::testing
