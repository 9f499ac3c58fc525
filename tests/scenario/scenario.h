// Runs one scenario: commands in, what the scheduler made of them out, as text. README.md has the
// language.
#ifndef PAMIR_TESTS_SCENARIO_SCENARIO_H_
#define PAMIR_TESTS_SCENARIO_SCENARIO_H_

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/sched/scheduler.h"
#include "support/fake_rank.h"

namespace pamir::testing {

// A command and its words: "arrive 1 prompt=5 score" has numbers {1}, values {prompt: "5", score:
// ""}.
struct Command {
  std::string name;
  std::vector<int64_t> numbers;
  std::map<std::string, std::string> values;

  int64_t Number(size_t i, int64_t otherwise) const;
  int64_t Value(const std::string& key, int64_t otherwise) const;
  std::vector<TokenId> List(const std::string& key) const;
};
Command ParseCommand(const std::string& line);

class Scenario {
 public:
  // Lines that the command gave; an unknown command gives one that says so.
  std::vector<std::string> Run(const Command& command);

 private:
  using Lines = std::vector<std::string>;
  void SetOptions(const Command& c);
  void Arrive(const Command& c, Lines* out);
  void Step(Lines* out);
  void Done(const Command& c, Lines* out);
  void Drain(Lines* out);
  void Apply(flow::Event event, Lines* out);
  void PrintEvents(Lines* out);
  void PrintStats(Lines* out);

  std::unique_ptr<sched::Scheduler> scheduler_;
  std::unique_ptr<FakeRank> rank_;      // judges the plans; its tokens are not used
  std::deque<flow::StepPlan> out_;      // plans that wait for a result
  std::optional<flow::StepPlan> last_;  // that had one, or will have none
};

}  // namespace pamir::testing

#endif  // PAMIR_TESTS_SCENARIO_SCENARIO_H_
