#include "bench/engine/read_bandwidth.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <vector>

#include "base/units.h"
#include "engine/device/host_buffer.h"

namespace pamir::bench {
namespace {

constexpr int64_t kBytes = 512 * kMiB;
constexpr int kPasses = 15;
constexpr int kStreams = 4;

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

double ReadBandwidth(ThreadPool* pool) {
  device::HostBuffer buffer = device::HostBuffer::Allocate(kBytes).value();
  uint64_t* const data = static_cast<uint64_t*>(buffer.data());
  const int64_t words = kBytes / 8, share = words / pool->threads();
  std::fill(data, data + words, uint64_t{1});
  std::vector<double> seconds;
  volatile uint64_t sink = 0;
  for (int pass = 0; pass < kPasses; ++pass) {
    const auto began = std::chrono::steady_clock::now();
    pool->ParallelFor(pool->threads(), [&](int part) {
      const uint64_t sum = ReadStreams(data + part * share, share);
      if (sum == 0) sink = sum;
    });
    seconds.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count());
  }
  std::nth_element(seconds.begin(), seconds.begin() + kPasses / 2, seconds.end());
  return static_cast<double>(kBytes) / seconds[kPasses / 2];
}

}  // namespace pamir::bench
