// A coordinator and its workers in one thread on a fake clock and network. Everything that is
// random (delays, clients, deaths) comes from one seed: the same seed gives the same run, event by
// event.
#ifndef PAMIR_TESTS_SIM_SIMULATION_H_
#define PAMIR_TESTS_SIM_SIMULATION_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <random>
#include <string>
#include <vector>

#include "cluster/coordinator/core.h"
#include "cluster/wire/convert.h"
#include "support/cluster/cluster_parts.h"

namespace pamir::sim {

// Things that happen at a time; those of one time in the order in which they were planned.
class Timeline {
 public:
  explicit Timeline(uint64_t seed) : random_(seed) {}
  absl::Time now() const { return now_; }
  void At(absl::Time when, std::function<void()> what) {
    events_.push({when, ++planned_, std::move(what)});
  }
  void After(absl::Duration delay, std::function<void()> what) {
    At(now_ + delay, std::move(what));
  }
  // Runs the next event; false: there is none.
  bool Step();

  uint64_t Below(uint64_t limit) { return random_() % limit; }
  absl::Duration Delay(absl::Duration most) {
    return absl::Nanoseconds(Below(static_cast<uint64_t>(absl::ToInt64Nanoseconds(most)) + 1));
  }

 private:
  struct Event {
    absl::Time when;
    uint64_t order;
    std::function<void()> what;
    bool operator>(const Event& other) const {
      return when != other.when ? when > other.when : order > other.order;
    }
  };
  std::mt19937_64 random_;
  absl::Time now_ = absl::FromUnixSeconds(1'000'000'000);
  uint64_t planned_ = 0;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
};

// One direction of one link: bytes arrive in order, each after a delay of its own. Links do not
// wait for each other, so messages of different links overtake.
class Pipe {
 public:
  Pipe(Timeline* timeline, std::function<void(std::string)> deliver)
      : timeline_(timeline), deliver_(std::move(deliver)) {}
  void Send(const wire::Frame& frame);
  void Cut() { *open_ = false; }  // what is under way is lost

 private:
  Timeline* const timeline_;
  const std::function<void(std::string)> deliver_;
  absl::Time last_ = absl::InfinitePast();
  std::shared_ptr<bool> open_ = std::make_shared<bool>(true);
};

struct SimOptions {
  uint64_t seed = 0;
  int tp = 1, pp = 1;
  int requests = 60;
  int num_blocks = 24;       // few: requests are preempted
  bool kill_a_rank = false;  // at some time while it serves
};

struct SimReport {
  uint64_t fingerprint = 0;  // of every message and token with its time
  uint64_t messages = 0;
  int finished = 0, cancelled = 0, failed = 0, refused = 0;
  uint64_t preemptions = 0;
  std::string killed;  // "rank 1"; empty: none
  absl::Status ended;
  std::vector<std::string> wrong;  // what should not have happened
};

SimReport RunSimulation(const SimOptions& options);

}  // namespace pamir::sim

#endif  // PAMIR_TESTS_SIM_SIMULATION_H_
