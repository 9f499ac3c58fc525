// A worker without threads: it does what cluster/worker does, one thing after the other, each
// taking its time on the timeline. Its rank is fake and checks every plan.
#ifndef PAMIR_TESTS_SIM_SIM_WORKER_H_
#define PAMIR_TESTS_SIM_SIM_WORKER_H_

#include <functional>
#include <memory>
#include <string>

#include "sim/simulation.h"

namespace pamir::sim {

class SimWorker {
 public:
  // Joins after a while. `gone` is called once, when it has left or died.
  SimWorker(Timeline* timeline, int index, std::function<void(const wire::FromWorker&)> send,
            std::function<void(const std::string& why)> gone);

  void OnMessage(wire::ToWorker message);
  void Die(const std::string& why);
  int rank() const { return load_.rank; }
  const std::string& error() const { return error_; }  // what its rank found wrong with a plan

 private:
  void Send(const wire::FromWorker& message) {
    if (alive_) send_(message);
  }
  // Behind all that it is doing.
  void Later(absl::Duration takes, std::function<void()> what);
  void Load();
  void Exchange(uint32_t round);
  void OnExchanged(const wire::Exchanged& answer);
  void Step(const flow::StepPlan& plan);
  void Beat();

  Timeline* const timeline_;
  const int index_;
  const std::function<void(const wire::FromWorker&)> send_;
  const std::function<void(const std::string&)> gone_;
  bool alive_ = true;
  absl::Time busy_until_ = absl::InfinitePast();
  flow::LoadRequest load_;
  std::unique_ptr<flow::Rank> engine_;
  std::string error_;
};

}  // namespace pamir::sim

#endif  // PAMIR_TESTS_SIM_SIM_WORKER_H_
