// The transport between threads of one process: a region on the heap.
#include <sys/mman.h>

#include <numeric>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "engine/comm/region_communicator.h"

namespace pamir::comm {
namespace {

// No operation of a simulation comes near; the region is bounded whatever the messages.
constexpr int64_t kMaxThreadMessageBytes = int64_t{1} << 40;

// Zero-filled, and touched only where it is used.
std::shared_ptr<void> AnonymousMemory(size_t bytes) {
  void* base = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  PAMIR_CHECK(base != MAP_FAILED, absl::StrCat("no memory for a thread group: ", bytes, " bytes"));
  return {base, [bytes](void* p) { munmap(p, bytes); }};
}

}  // namespace

std::vector<std::unique_ptr<Communicator>> ThreadGroup(int n, absl::Duration timeout) {
  PAMIR_CHECK(n >= 1 && n <= kMaxRegionRanks,
              absl::StrCat("a thread group of ", n, " ranks; 1 to ", kMaxRegionRanks, " work"));
  const RegionShape shape = ShapeFor(n, kMaxThreadMessageBytes);
  const Region region = Region::Create(AnonymousMemory(RegionBytes(shape)), shape);
  GroupInfo group;
  group.world_rank_of.resize(static_cast<size_t>(n));
  std::iota(group.world_rank_of.begin(), group.world_rank_of.end(), 0);
  group.timeout = timeout;
  group.spin = std::thread::hardware_concurrency() >= static_cast<unsigned>(n);
  group.max_message_bytes = kMaxThreadMessageBytes;
  std::vector<std::unique_ptr<Communicator>> all;
  for (group.rank = 0; group.rank < n; ++group.rank) {
    all.push_back(std::make_unique<RegionCommunicator>("threads", group, region, nullptr));
  }
  return all;
}

}  // namespace pamir::comm
