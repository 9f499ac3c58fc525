#include "bench/steps.h"

#include <algorithm>
#include <map>
#include <set>

#include "gtest/gtest.h"

namespace pamir::bench {
namespace {

// Computes nothing; checks that what it is told fits together, as a real one would.
class CheckingRank final : public flow::Rank {
 public:
  explicit CheckingRank(int ahead) : ahead_(ahead) {}

  absl::StatusOr<flow::StepResult> Step(const flow::StepPlan& plan) override {
    Apply(plan);
    return ResultOf(plan);
  }
  int steps_ahead() const override { return ahead_; }
  absl::Status Begin(const flow::StepPlan& plan) override {
    Apply(plan);
    begun_.push_back(ResultOf(plan));
    most_begun_ = std::max(most_begun_, begun_.size());
    return absl::OkStatus();
  }
  absl::StatusOr<flow::StepResult> Finish() override {
    if (fails_) return absl::InternalError("the device is lost");
    flow::StepResult result = begun_.front();
    begun_.erase(begun_.begin());
    return result;
  }

  size_t most_begun() const { return most_begun_; }
  size_t still_begun() const { return begun_.size(); }
  size_t slots() const { return lengths_.size(); }
  void Fail() { fails_ = true; }
  int steps = 0;
  std::map<int32_t, int32_t> positions;  // of each slot, the highest that was computed

 private:
  void Apply(const flow::StepPlan& plan) {
    ++steps;
    for (const SlotId slot : plan.releases) EXPECT_EQ(lengths_.erase(slot.value), 1u);
    if (!plan.admissions.empty()) blocks_.clear();
    for (const flow::Admission& a : plan.admissions) {
      EXPECT_EQ(lengths_.count(a.slot.value), 0u);
      lengths_[a.slot.value] = static_cast<int32_t>(a.ids.size());
      room_[a.slot.value] = static_cast<int32_t>(a.blocks.size()) * 16;
      for (const BlockId block : a.blocks) {
        EXPECT_TRUE(blocks_.insert(block.value).second) << "two slots have a block";
      }
    }
    for (const flow::Row& row : plan.rows) {
      int32_t& length = lengths_[row.slot.value];
      EXPECT_EQ(row.from + row.count, length);
      EXPECT_LE(length, room_[row.slot.value]);
      positions[row.slot.value] = length;
      ++length;
    }
  }
  static flow::StepResult ResultOf(const flow::StepPlan& plan) {
    flow::StepResult result;
    for (const flow::Row& row : plan.rows) result.sampled.push_back({.slot = row.slot});
    return result;
  }

  const int ahead_;
  bool fails_ = false;
  size_t most_begun_ = 0;
  std::vector<flow::StepResult> begun_;
  std::map<int32_t, int32_t> lengths_, room_;
  std::set<int32_t> blocks_;
};

spec::ModelSpec Model() {
  spec::ModelSpec model;
  model.vocab = 50;
  return model;
}

TEST(Summarize, MedianAndQuartiles) {
  const Timing timing = Summarize({5, 1, 2, 4, 3});
  EXPECT_DOUBLE_EQ(timing.ms, 3);
  EXPECT_DOUBLE_EQ(timing.spread, 2.0 / 3);
  EXPECT_DOUBLE_EQ(Summarize({7}).ms, 7);
  EXPECT_DOUBLE_EQ(Summarize({}).ms, 0);
}

TEST(StepFeeder, DecodesOneAtATimeAndAhead) {
  CheckingRank rank(1);
  StepFeeder feeder(&rank, Model(), {}, true);
  for (const int32_t batch : {2, 3, 1}) {
    rank.steps = 0;
    ASSERT_TRUE(feeder.Decode(batch, 10, 30).ok());
    EXPECT_EQ(rank.steps, 2 * (kWarmUpSteps + 30));
    EXPECT_EQ(rank.slots(), static_cast<size_t>(batch));
    EXPECT_EQ(rank.positions[0], DecodePositions(10, 30) - 1);
  }
  EXPECT_EQ(rank.most_begun(), 2u);
  EXPECT_EQ(rank.still_begun(), 0u);
}

TEST(StepFeeder, ARankWithoutStepsAheadRunsEachOnce) {
  CheckingRank rank(0);
  StepFeeder feeder(&rank, Model(), {}, true);
  const auto timing = feeder.Decode(1, 1, 3);
  ASSERT_TRUE(timing.ok());
  EXPECT_EQ(rank.steps, kWarmUpSteps + 3);
  EXPECT_EQ(timing->ms, timing->alone_ms);
}

TEST(StepFeeder, PrefillsBehindAWarmUp) {
  CheckingRank rank(1);
  StepFeeder feeder(&rank, Model(), {}, true);
  ASSERT_TRUE(feeder.Prefill(33, 5).ok());
  EXPECT_EQ(rank.steps, 6);
  EXPECT_EQ(rank.positions[0], 33);
}

TEST(StepFeeder, AnErrorOfTheRankEndsIt) {
  CheckingRank rank(1);
  rank.Fail();
  StepFeeder feeder(&rank, Model(), {}, true);
  EXPECT_EQ(feeder.Decode(1, 4, 4).status().message(), "the device is lost");
}

}  // namespace
}  // namespace pamir::bench
