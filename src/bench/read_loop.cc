#include "bench/read_loop.h"

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "base/units.h"

namespace pamir::bench {
namespace {

constexpr int64_t kBytes = 512 * kMiB;
constexpr int kStreams = 4;
constexpr int64_t kShareUnit = kStreams * 8;  // words

// Eight independent sums a stream, so that additions never wait for each other.
uint64_t ReadStreams(const uint64_t* data, int64_t words) {
  typedef uint64_t Vector __attribute__((vector_size(64)));
  const int64_t stretch = words / kStreams / 8;
  const Vector* streams[kStreams];
  for (int s = 0; s < kStreams; ++s) {
    streams[s] = reinterpret_cast<const Vector*>(data) + s * stretch;
  }
  Vector sums[kStreams] = {};
  for (int64_t i = 0; i < stretch; ++i) {
    for (int s = 0; s < kStreams; ++s) sums[s] += streams[s][i];
  }
  uint64_t total = 0;
  for (const Vector& sum : sums) {
    for (int lane = 0; lane < 8; ++lane) total += sum[lane];
  }
  return total;
}

}  // namespace

ReadLoop::ReadLoop(ThreadPool* pool)
    : pool_(pool), buffer_(device::HostBuffer::Allocate(kBytes).value()) {
  uint64_t* const data = static_cast<uint64_t*>(buffer_.data());
  std::fill(data, data + kBytes / 8, uint64_t{1});
}

double ReadLoop::Pass() {
  const uint64_t* const data = static_cast<const uint64_t*>(buffer_.data());
  // Whole vectors of each stream, or some thread's would not be aligned.
  const int64_t share = kBytes / 8 / pool_->threads() / kShareUnit * kShareUnit;
  volatile uint64_t sink = 0;
  const auto began = std::chrono::steady_clock::now();
  pool_->ParallelFor(pool_->threads(), [&](int part) {
    const uint64_t sum = ReadStreams(data + part * share, share);
    if (sum == 0) sink = sum;
  });
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - began;
  return static_cast<double>(share * 8 * pool_->threads()) / seconds.count();
}

}  // namespace pamir::bench
