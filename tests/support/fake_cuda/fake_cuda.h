// A GPU made of host memory, behind the table that the real one is driven by
// (kernels/cuda/cuda_api.h): the whole GPU engine runs in ordinary unit tests where no GPU is.
//
// It is stricter than a device. A launch that names memory outside a live device allocation, or of
// another device, ends the process with the function's and the argument's name; so do a write past
// an allocation's end and a handle that was already given back. Fresh memory is garbage. Kernels
// are plain C++ in float32 with one order of summation: not the bits of a GPU, but the same bits
// for every number of rows and with idle neurons skipped or not.
//
//   FakeCuda fake;                      // first, so that it goes last
//   auto device = device::CudaDevice::OpenWith(fake.api(), 0);
#ifndef PAMIR_TESTS_SUPPORT_FAKE_CUDA_FAKE_CUDA_H_
#define PAMIR_TESTS_SUPPORT_FAKE_CUDA_FAKE_CUDA_H_

#include <cstdint>
#include <memory>
#include <string>

#include "kernels/cuda/cuda_api.h"

namespace pamir::testing {

class FakeState;

struct FakeCudaOptions {
  int devices = 1;
  int64_t memory_bytes = int64_t{4} << 30;  // of each device
  int capability = 90;
  int count_error = 0;  // what counting the devices answers: 35 is a driver that is too old
  // false: work is done when it is enqueued. true: only when somebody waits for it, as late as can
  // be, so that a missing wait, or a pinned buffer that is filled again too early, shows.
  bool queued = false;
};

struct FakeCudaCounts {
  int64_t copies_to_device = 0;
  int64_t copies_to_host = 0;
  int64_t copies_within = 0;  // device to device
  int64_t bytes_to_device = 0;
  int64_t bytes_to_host = 0;
  int64_t fills = 0;
  int64_t kernels = 0;   // that ran, also those of graphs
  int64_t launches = 0;  // of kernels by themselves, not while a graph was captured
  int64_t graph_launches = 0;
  int64_t synchronizations = 0;  // of a device, a stream or an event
};

// One at a time in a process; usable from any thread while it lives. Its end dies, naming them,
// where memory or handles were not given back.
class FakeCuda {
 public:
  explicit FakeCuda(const FakeCudaOptions& options = {});
  ~FakeCuda();
  FakeCuda(const FakeCuda&) = delete;
  FakeCuda& operator=(const FakeCuda&) = delete;

  const kernels::CudaApi* api() const;

  int64_t device_bytes(int device = 0) const;  // allocated now
  int64_t peak_device_bytes(int device = 0) const;
  int64_t pinned_bytes() const;
  void SetMemory(int64_t bytes_of_each_device);

  // While frozen, an allocation (device or pinned) or a registration ends the process.
  void Freeze(bool frozen);

  // The n-th launch from now (1: the next), of a kernel or of a graph, does nothing and returns
  // `error`; so does everything after it: the device is lost, as after an illegal access. With
  // `late` that launch itself still returns 0, as a kernel's error shows at the next call.
  void FailLaunch(int64_t n, int error = 700, bool late = false);

  FakeCudaCounts counts() const;
  int64_t kernels_of(const std::string& name) const;  // that ran, by the table's name: "add_norm"
  void ResetCounts();

 private:
  std::unique_ptr<FakeState> state_;
};

}  // namespace pamir::testing

#endif  // PAMIR_TESTS_SUPPORT_FAKE_CUDA_FAKE_CUDA_H_
