// A dull model of the scheduler, and one scheduler with a fake rank that random operations drive
// against it. After every operation the model checks what must always hold.
#ifndef PAMIR_TESTS_MODEL_SCHED_MODEL_H_
#define PAMIR_TESTS_MODEL_SCHED_MODEL_H_

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/sched/scheduler.h"
#include "model/seeds.h"
#include "support/fake_rank.h"

namespace pamir::testing {

class SchedModel {
 public:
  explicit SchedModel(uint64_t seed);

  // One random operation, and all checks. Failures are gtest failures.
  void Operate();
  // Runs everything to its end and checks that nothing is left.
  void Drain();

  uint64_t preemptions() const { return scheduler_->Stats().preemptions; }
  const std::string& last_operation() const { return last_; }

 private:
  struct Request {
    flow::TokenRequest asked;
    std::vector<TokenId> ids;  // prompt and the tokens that came as events
    bool running = false;
    bool scored = false;  // all scores have come back: they are not computed again
    SlotId slot;
    int32_t computed = 0, blocks = 0;
    int32_t pending = 0;    // tokens that are being sampled
    int32_t longest = 0;    // ids that it may have
    uint64_t admitted = 0;  // its place in all admissions

    int32_t prompt() const { return static_cast<int32_t>(asked.prompt.size()); }
    int32_t length() const { return static_cast<int32_t>(ids.size()); }
    int32_t coming() const { return length() + pending; }
    int32_t emitted() const { return length() - prompt(); }
    bool decodes() const {
      return computed >= prompt() && computed + 1 == coming() && coming() < longest;
    }
    bool scores() const { return asked.prompt_logprobs && !scored && computed < prompt() - 1; }
    // Where its next chunk ends; `computed` where it has none.
    int32_t ChunkEnd() const {
      if (scores()) return prompt() - 1;
      if (decodes() || longest == prompt()) return computed;
      return std::max(computed, computed < prompt() ? prompt() : length());
    }
  };
  // A step that is out, and who had the slots.
  struct Out {
    flow::StepResult result;
    std::vector<uint64_t> admitted;  // by slot; 0: nobody
  };
  using Live = std::map<uint64_t, Request>;  // by arrival: the model of first come first served

  // Operations (sched_model.cc).
  void Arrive();
  void Cancel();
  void Stop();
  void Tick();
  void Step();
  void Done();
  void DoneOfAnother();
  void Lost();
  void Ready();
  flow::TokenRequest RandomRequest();
  absl::StatusCode ExpectedAnswer(const flow::TokenRequest& request) const;
  Live::iterator RandomLive();
  void ExpectEnd(Live::iterator it, FinishReason finish, int32_t index, bool deadline);
  void AllWait();

  // Checks (sched_model_checks.cc).
  void CheckPlan(const flow::StepPlan& plan, int32_t free_before);
  void ApplyReleases(const flow::StepPlan& plan, bool* preempted);
  void ApplyAdmissions(const flow::StepPlan& plan);
  void CheckFirstComeFirstServed(const flow::StepPlan& plan);
  void CheckRows(const flow::StepPlan& plan);
  void CheckHeadOfQueue(int32_t tokens_left);
  int32_t BlocksToGrow() const;
  bool HasRows() const;
  Request* OwnerStill(const Out& out, SlotId slot);
  void TakeEvents();
  void CheckToken(Request& request, const flow::TokenEvent& event);
  FinishReason ExpectedFinish(const Request& request) const;
  std::vector<float> ExpectedScores(const Request& request) const;
  void CheckState();
  Live::iterator FindLive(SeqId id);

  Random random_;
  sched::SchedulerOptions options_;
  int32_t vocab_ = 0;
  std::unique_ptr<sched::Scheduler> scheduler_;
  std::unique_ptr<FakeRank> rank_;

  Live live_;                                   // accepted, not finished
  std::map<uint64_t, flow::TokenEvent> ends_;   // ends without a token that must come now
  std::vector<std::optional<uint64_t>> slots_;  // by slot, as the ranks have it: arrival
  std::deque<Out> in_flight_;
  uint64_t admissions_ = 0;
  std::vector<flow::StepResult> stale_;  // of lost epochs
  size_t tokens_due_ = 0;                // token events that this StepDone must give
  bool ready_ = false;
  Epoch epoch_;
  absl::Time now_ = absl::FromUnixSeconds(0);
  uint64_t next_id_ = 1, arrivals_ = 0, finished_ = 0;
  std::string last_;
};

}  // namespace pamir::testing

#endif  // PAMIR_TESTS_MODEL_SCHED_MODEL_H_
