// The all-reduce of a decode step between two processes of this host: 384 floats (a small model's
// hidden state) and 12,288 (OPT-175B's), over shared memory and over Gloo on loopback, with ranks
// that spin before they park and ranks that park at once. Prints microseconds a call.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "unit/comm/rank_harness.h"

namespace pamir::comm {
namespace {

constexpr int kWarmUp = 500;

std::string TimeAllReduce(Communicator& world, int64_t count, int calls) {
  using Clock = std::chrono::steady_clock;
  std::vector<float> data(static_cast<size_t>(count));
  std::vector<double> us;
  for (int i = 0; i < kWarmUp + calls; ++i) {
    const auto start = Clock::now();
    if (absl::Status status = world.AllReduce(data.data(), count, {}); !status.ok()) {
      return status.ToString();
    }
    const std::chrono::duration<double, std::micro> took = Clock::now() - start;
    if (i >= kWarmUp) us.push_back(took.count());
  }
  std::sort(us.begin(), us.end());
  return absl::StrFormat("p50 %8.2f us   p99 %8.2f us", us[us.size() / 2],
                         us[us.size() * 99 / 100]);
}

void Main() {
  for (Way way : {Way::kShmProcesses, Way::kGlooProcesses}) {
    for (bool spin : {true, false}) {
      for (int64_t count : {384, 12288}) {
        RunOptions options = OneStage(2);
        options.spin = spin;
        const int calls = way == Way::kShmProcesses && spin ? 50'000 : 10'000;
        const auto results = RunRanks(
            way, options, [&](RankContext& at) { return TimeAllReduce(at.world(), count, calls); });
        std::printf("%-14s %-5s %6d floats   %s\n", Name(way), spin ? "spin" : "park",
                    static_cast<int>(count), results[0].c_str());
        std::fflush(stdout);
      }
    }
  }
}

}  // namespace
}  // namespace pamir::comm

int main() { pamir::comm::Main(); }
