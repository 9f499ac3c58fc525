#include "support/fake_cuda/memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace pamir::testing {
namespace {

constexpr int64_t kGuardBytes = 256;  // on either side; also the alignment
constexpr int kGuard = 0xFD;

int64_t RoundedUp(int64_t bytes) { return (bytes + kGuardBytes - 1) / kGuardBytes * kGuardBytes; }

bool GuardsWhole(const FakeMemory::Block& block) {
  const auto is_guard = [](char c) { return static_cast<unsigned char>(c) == kGuard; };
  const char* end = block.data + block.bytes;
  return std::all_of(block.data - kGuardBytes, block.data, is_guard) &&
         std::all_of(end, end + kGuardBytes, is_guard);
}

}  // namespace

const char* Name(FakeMemory::Kind kind) {
  if (kind == FakeMemory::Kind::kDevice) return "device memory";
  return kind == FakeMemory::Kind::kPinned ? "pinned memory" : "registered memory";
}

FakeMemory::~FakeMemory() {
  for (const auto& [address, block] : blocks_) {
    if (block.kind != Kind::kRegistered) std::free(block.data - kGuardBytes);
  }
}

void FakeMemory::Add(const Block& block) {
  blocks_[reinterpret_cast<uintptr_t>(block.data)] = block;
  Total& total = totals_[{block.kind, block.device}];
  total.live += block.bytes;
  total.peak = std::max(total.peak, total.live);
}

void* FakeMemory::Allocate(Kind kind, int device, int64_t bytes, int64_t limit) {
  absl::MutexLock lock(&mu_);
  if (bytes > limit - totals_[{kind, device}].live) return nullptr;
  const auto whole = static_cast<size_t>(RoundedUp(bytes) + 2 * kGuardBytes);
  char* memory = static_cast<char*>(std::aligned_alloc(kGuardBytes, whole));
  if (memory == nullptr) return nullptr;
  std::memset(memory, kGuard, whole);
  std::memset(memory + kGuardBytes, kFakeGarbage, static_cast<size_t>(bytes));
  Add({kind, device, memory + kGuardBytes, bytes});
  return memory + kGuardBytes;
}

void FakeMemory::Register(void* data, int64_t bytes) {
  absl::MutexLock lock(&mu_);
  Add({Kind::kRegistered, 0, static_cast<char*>(data), bytes});
}

void FakeMemory::Release(Kind kind, void* data) {
  absl::MutexLock lock(&mu_);
  const auto found = blocks_.find(reinterpret_cast<uintptr_t>(data));
  PAMIR_CHECK(found != blocks_.end() && found->second.kind == kind,
              absl::StrCat("release of what is no live ", std::string(Name(kind))));
  const Block block = found->second;
  if (kind != Kind::kRegistered) {
    PAMIR_CHECK(GuardsWhole(block), absl::StrCat("somebody wrote in front of or behind ",
                                                 block.bytes, " bytes of ", Name(kind)));
    std::free(block.data - kGuardBytes);
  }
  totals_[{kind, block.device}].live -= block.bytes;
  blocks_.erase(found);
}

std::optional<FakeMemory::Block> FakeMemory::Find(const void* address) const {
  absl::MutexLock lock(&mu_);
  const auto at = reinterpret_cast<uintptr_t>(address);
  auto next = blocks_.upper_bound(at);
  if (next == blocks_.begin()) return std::nullopt;
  const Block& block = std::prev(next)->second;
  const bool inside =
      at < reinterpret_cast<uintptr_t>(block.data) + static_cast<size_t>(block.bytes);
  return inside ? std::optional<Block>(block) : std::nullopt;
}

int64_t FakeMemory::live_bytes(Kind kind, int device) const {
  absl::MutexLock lock(&mu_);
  const auto found = totals_.find({kind, device});
  return found == totals_.end() ? 0 : found->second.live;
}

int64_t FakeMemory::peak_bytes(Kind kind, int device) const {
  absl::MutexLock lock(&mu_);
  const auto found = totals_.find({kind, device});
  return found == totals_.end() ? 0 : found->second.peak;
}

std::string FakeMemory::Leaks() const {
  absl::MutexLock lock(&mu_);
  std::string leaks;
  for (const auto& [address, block] : blocks_) {
    absl::StrAppend(&leaks, leaks.empty() ? "" : ", ", block.bytes, " bytes of ", Name(block.kind));
  }
  return leaks;
}

}  // namespace pamir::testing
