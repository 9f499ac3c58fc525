// The CPU twin of a device buffer: zeroed, 64-byte aligned memory taken once at start-up. Pages are
// huge where the kernel has them (fewer TLB misses while weights stream through) and become
// resident only when they are first touched.
#ifndef PAMIR_ENGINE_DEVICE_HOST_BUFFER_H_
#define PAMIR_ENGINE_DEVICE_HOST_BUFFER_H_

#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"

namespace pamir::device {

class HostBuffer {
 public:
  HostBuffer() = default;
  // RESOURCE_EXHAUSTED where the machine refuses; the message says how much was asked for.
  static absl::StatusOr<HostBuffer> Allocate(int64_t bytes);

  ~HostBuffer();
  HostBuffer(HostBuffer&& other) noexcept { *this = std::move(other); }
  HostBuffer& operator=(HostBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  HostBuffer(const HostBuffer&) = delete;
  HostBuffer& operator=(const HostBuffer&) = delete;

  void* data() const { return data_; }
  int64_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  int64_t bytes_ = 0;
};

}  // namespace pamir::device

#endif  // PAMIR_ENGINE_DEVICE_HOST_BUFFER_H_
