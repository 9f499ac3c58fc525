#include "engine/device/host_buffer.h"

#include <sys/mman.h>

#include "absl/strings/str_cat.h"
#include "base/units.h"

namespace pamir::device {

absl::StatusOr<HostBuffer> HostBuffer::Allocate(int64_t bytes) {
  HostBuffer buffer;
  if (bytes <= 0) return buffer;
  void* data = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) {
    return absl::ResourceExhaustedError(
        absl::StrCat("cannot allocate ", HumanBytes(bytes), " of memory"));
  }
  constexpr int64_t kHugePagesFrom = 4 * kMiB;
  if (bytes >= kHugePagesFrom) madvise(data, static_cast<size_t>(bytes), MADV_HUGEPAGE);
  buffer.data_ = data;
  buffer.bytes_ = bytes;
  return buffer;
}

HostBuffer::~HostBuffer() {
  if (data_ != nullptr) munmap(data_, static_cast<size_t>(bytes_));
}

}  // namespace pamir::device
