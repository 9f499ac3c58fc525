#include "support/fake_cuda/runtime.h"

#include <cstdio>
#include <limits>

#include "base/check.h"
#include "support/fake_cuda/state.h"

namespace pamir::testing {
namespace {

using Kind = FakeMemory::Kind;

FakeState& State() { return FakeState::Current(); }

const char* ErrorText(int error) {
  switch (error) {
    case 0:
      return "no error";
    case kInvalidValue:
      return "invalid argument";
    case kOutOfMemory:
      return "out of memory";
    case 35:
      return "CUDA driver version is insufficient for CUDA runtime version";
    case kNoDevice:
      return "no CUDA-capable device is detected";
    case kInvalidDevice:
      return "invalid device ordinal";
    case kInvalidHandle:
      return "invalid resource handle";
    case kIllegalState:
      return "the operation cannot be performed in the present state";
    case 700:
      return "an illegal memory access was encountered";
    case kCaptureUnsupported:
      return "operation not permitted when stream is capturing";
    case kCaptureInvalidated:
      return "operation failed due to a previous error during capture";
    case kCaptureUnjoined:
      return "capturing stream has unjoined work";
    case kCaptureIsolation:
      return "dependency created on uncaptured work in another stream";
    case kCapturedEvent:
      return "operation not permitted on an event last recorded in a capturing stream";
    default:
      return "an error of the fake device";
  }
}

int DeviceCount(int* count) {
  const FakeCudaOptions& options = State().options;
  *count = options.count_error == 0 ? options.devices : 0;
  if (options.count_error != 0) return State().Return(options.count_error);
  return State().Return(options.devices == 0 ? kNoDevice : 0);
}

int Describe(int device, kernels::CudaDeviceFacts* facts) {
  const FakeCudaOptions& options = State().options;
  if (device < 0 || device >= options.devices) return State().Return(kInvalidDevice);
  std::snprintf(facts->name, sizeof facts->name, "Fake GPU");
  std::snprintf(facts->bus_id, sizeof facts->bus_id, "0000:%02x:00.0", device + 1);
  facts->capability = options.capability;
  facts->multiprocessors = 4;
  facts->memory_bytes = State().memory_limit();
  facts->driver_version = 12040;
  facts->runtime_version = 12040;
  return State().Return(0);
}

int UseDevice(int device) {
  if (device < 0 || device >= State().options.devices) return State().Return(kInvalidDevice);
  FakeState::set_device(device);
  return State().Return(0);
}

int DependentLaunches(bool* possible) {
  *possible = State().options.capability >= 90;
  return State().Return(0);
}

int Memory(int64_t* free_bytes, int64_t* total_bytes) {
  *total_bytes = State().memory_limit();
  *free_bytes = *total_bytes - State().memory.live_bytes(Kind::kDevice, FakeState::device());
  return State().Return(0);
}

int AllocateKind(Kind kind, int64_t bytes, int64_t limit, void** memory) {
  *memory = nullptr;
  PAMIR_CHECK(!State().frozen(), "an allocation after everything was to be taken");
  if (const int error = State().ForbidInCapture()) return State().Return(error);
  if (const int lost = State().lost_error()) return State().Return(lost);
  if (bytes == 0) return State().Return(0);
  const int device = kind == Kind::kDevice ? FakeState::device() : 0;
  *memory = State().memory.Allocate(kind, device, bytes, limit);
  return State().Return(*memory == nullptr ? kOutOfMemory : 0);
}

int Allocate(int64_t bytes, void** memory) {
  return AllocateKind(Kind::kDevice, bytes, State().memory_limit(), memory);
}

int AllocatePinned(int64_t bytes, void** memory) {
  return AllocateKind(Kind::kPinned, bytes, std::numeric_limits<int64_t>::max(), memory);
}

// As in CUDA, work that was enqueued before still finds the memory.
int ReleaseKind(Kind kind, void* memory) {
  if (const int error = State().ForbidInCapture()) return State().Return(error);
  if (memory == nullptr) return State().Return(0);
  State().FinishDevice();
  State().memory.Release(kind, memory);
  return State().Return(0);
}

int Pin(void* memory, int64_t bytes) {
  PAMIR_CHECK(!State().frozen(), "memory is pinned after everything was to be taken");
  if (const int error = State().ForbidInCapture()) return State().Return(error);
  if (memory == nullptr || bytes <= 0) return State().Return(kInvalidValue);
  State().memory.Register(memory, bytes);
  return State().Return(0);
}

void FillStreams(kernels::CudaApi* api) {
  api->create_stream = [](StreamRef* s) { return State().Return(State().CreateStream(s)); };
  api->destroy_stream = [](StreamRef s) { return State().Return(State().DestroyStream(s)); };
  api->synchronize_stream = [](StreamRef s) {
    return State().Return(State().SynchronizeStream(s));
  };
  api->create_event = [](bool timed, void** event) {
    return State().Return(State().CreateEvent(timed, event));
  };
  api->destroy_event = [](void* event) { return State().Return(State().DestroyEvent(event)); };
  api->record_event = [](void* event, StreamRef s) {
    return State().Return(State().RecordEvent(event, s));
  };
  api->wait_event = [](StreamRef s, void* event) {
    return State().Return(State().WaitEvent(s, event));
  };
  api->synchronize_event = [](void* event) {
    return State().Return(State().SynchronizeEvent(event));
  };
  api->event_done = [](void* event, bool* done) {
    return State().Return(State().EventDone(event, done));
  };
  api->elapsed_ms = [](void* begin, void* end, float* milliseconds) {
    return State().Return(State().ElapsedMs(begin, end, milliseconds));
  };
  api->begin_capture = [](StreamRef s) { return State().Return(State().BeginCapture(s)); };
  api->end_capture = [](StreamRef s, void** graph) {
    return State().Return(State().EndCapture(s, graph));
  };
  api->launch_graph = [](void* graph, StreamRef s) {
    return State().ReturnLaunch(State().LaunchGraph(graph, s));
  };
  api->destroy_graph = [](void* graph) { return State().Return(State().DestroyGraph(graph)); };
}

}  // namespace

void FillRuntime(kernels::CudaApi* api) {
  api->error_text = ErrorText;
  api->device_count = DeviceCount;
  api->describe = Describe;
  api->use_device = UseDevice;
  api->dependent_launches = DependentLaunches;
  api->memory = Memory;
  api->last_error = [] { return State().TakeLastError(); };
  api->synchronize = [] { return State().Return(State().SynchronizeDevice()); };
  api->allocate = Allocate;
  api->release = [](void* memory) { return ReleaseKind(Kind::kDevice, memory); };
  api->allocate_pinned = AllocatePinned;
  api->release_pinned = [](void* memory) { return ReleaseKind(Kind::kPinned, memory); };
  api->pin = Pin;
  api->unpin = [](void* memory) { return ReleaseKind(Kind::kRegistered, memory); };
  FillStreams(api);
}

}  // namespace pamir::testing
