// The fake device's memory: heap blocks with guard zones, found again by any address inside them.
// Thread-safe.
#ifndef PAMIR_TESTS_SUPPORT_FAKE_CUDA_MEMORY_H_
#define PAMIR_TESTS_SUPPORT_FAKE_CUDA_MEMORY_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace pamir::testing {

// What fresh memory holds: no number that a test could mistake for a result.
inline constexpr int kFakeGarbage = 0xCD;

class FakeMemory {
 public:
  enum class Kind { kDevice, kPinned, kRegistered };  // registered: pinned memory of the caller's

  struct Block {
    Kind kind = Kind::kDevice;
    int device = 0;  // of kDevice
    char* data = nullptr;
    int64_t bytes = 0;
  };

  FakeMemory() = default;
  FakeMemory(const FakeMemory&) = delete;
  FakeMemory& operator=(const FakeMemory&) = delete;
  ~FakeMemory();

  // Garbage, 256-byte aligned. Null where the device's total would pass `limit`.
  void* Allocate(Kind kind, int device, int64_t bytes, int64_t limit);
  void Register(void* data, int64_t bytes);

  // Dies where `data` is not the begin of a live block of this kind, or a guard zone was written.
  void Release(Kind kind, void* data);

  // The live block that holds this address.
  std::optional<Block> Find(const void* address) const;

  int64_t live_bytes(Kind kind, int device) const;
  int64_t peak_bytes(Kind kind, int device) const;

  // What lives, in words; "" for nothing.
  std::string Leaks() const;

 private:
  struct Total {
    int64_t live = 0;
    int64_t peak = 0;
  };

  void Add(const Block& block) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  mutable absl::Mutex mu_;
  std::map<uintptr_t, Block> blocks_ ABSL_GUARDED_BY(mu_);  // by the first address
  std::map<std::pair<Kind, int>, Total> totals_ ABSL_GUARDED_BY(mu_);
};

const char* Name(FakeMemory::Kind kind);

}  // namespace pamir::testing

#endif  // PAMIR_TESTS_SUPPORT_FAKE_CUDA_MEMORY_H_
