// The coordinator's work for one step, without ranks and sockets: decode an answer, apply it, hand
// out the tokens, plan the next step, serialise it once. For the benchmark, and for a test that
// runs the same code.
#ifndef PAMIR_TESTS_BENCH_COORDINATOR_STEP_COST_H_
#define PAMIR_TESTS_BENCH_COORDINATOR_STEP_COST_H_

#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "base/check.h"
#include "cluster/coordinator/core.h"
#include "cluster/wire/convert.h"

namespace pamir::bench {

// Serialises as the real links do and keeps the plans that wait for an answer.
class EncodingLinks final : public wire::Links {
 public:
  void Send(wire::LinkId, const wire::ToWorker& message) override { Keep(message); }
  void SendToAll(const std::vector<wire::LinkId>&, const wire::ToWorker& message) override {
    Keep(message);
  }
  void Close(wire::LinkId, const absl::Status&) override {}

  std::deque<flow::StepPlan> out;
  uint64_t plans = 0;
  size_t plan_bytes = 0;

 private:
  void Keep(const wire::ToWorker& message) {
    const wire::Frame frame = wire::Encode(message);
    if (const auto* step = std::get_if<flow::StepPlan>(&message)) {
      out.push_back(*step);
      plan_bytes = frame->size();
      ++plans;
    }
  }
};

class CountingSink final : public flow::TokenSink {
 public:
  explicit CountingSink(uint64_t* tokens) : tokens_(tokens) {}
  void OnToken(flow::TokenEvent event) override { *tokens_ += event.has_token ? 1 : 0; }

 private:
  uint64_t* const tokens_;
};

// `sequences` requests that never end, over `ranks` ranks.
class StepCost {
 public:
  StepCost(coordinator::CoordinatorOptions options, int sequences)
      : options_(std::move(options)),
        admission_(options_),
        core_(options_, &links_, &admission_, now_) {
    const int ranks = options_.load.plan.ranks();
    for (int r = 0; r < ranks; ++r) {
      wire::Join join{.build_id = options_.build_id, .host_name = "h"};
      core_.Handle(coordinator::Joined{wire::LinkId(r + 1), join}, now_);
    }
    for (int r = 0; r < ranks; ++r) Say(r, wire::Ready{.epoch = Epoch(1)});
    auto sink = std::make_shared<CountingSink>(&tokens_);
    for (int i = 0; i < sequences; ++i) {
      flow::TokenRequest request;
      request.id = SeqId(i + 1);
      request.prompt = {2, 5, 7};
      request.max_tokens = 1 << 30;
      request.ignore_eos = true;
      PAMIR_CHECK(admission_.Admit(request).ok(), "refused");
      core_.Handle(coordinator::Submitted{request, sink}, now_);
    }
    core_.Proceed(now_);
  }

  // One step: all ranks answer, the next plan goes out. False: the requests have come to their end.
  bool Step() {
    if (links_.out.empty()) return false;
    const flow::StepPlan plan = std::move(links_.out.front());
    links_.out.pop_front();
    const uint64_t plans = links_.plans;
    flow::StepResult empty{.epoch = plan.epoch, .step = plan.step};
    flow::StepResult result = empty;
    for (const flow::Row& row : plan.rows) {
      if (row.wants == flow::RowWants::kSample) result.sampled.push_back({row.slot, 40000, 0, -1});
    }
    // What a rank serialises is not the coordinator's cost; it is small beside the rest.
    for (int r = options_.load.plan.ranks() - 1; r > 0; --r)
      Arrive(r, wire::Encode(wire::FromWorker(empty)));
    Arrive(0, wire::Encode(wire::FromWorker(result)));
    return links_.plans == plans + 1;
  }

  uint64_t tokens() const { return tokens_; }
  size_t plan_bytes() const { return links_.plan_bytes; }

 private:
  void Arrive(int rank, const wire::Frame& frame) {
    auto message = wire::DecodeFromWorker(*frame);
    PAMIR_CHECK(message.ok(), message.status().ToString());
    now_ += absl::Milliseconds(10);
    Say(rank, *std::move(message));
  }
  void Say(int rank, wire::FromWorker message) {
    core_.Handle(coordinator::FromLink{wire::LinkId(rank + 1), std::move(message)}, now_);
    core_.Proceed(now_);
  }

  coordinator::CoordinatorOptions options_;
  absl::Time now_ = absl::FromUnixSeconds(1'000'000);
  EncodingLinks links_;
  coordinator::Admission admission_;
  coordinator::Core core_;
  uint64_t tokens_ = 0;
};

// 64 slots of up to 2048 ids each: one stage, `tp` ranks.
inline coordinator::CoordinatorOptions StepCostOptions(int tp) {
  coordinator::CoordinatorOptions options;
  options.build_id = "bench";
  options.heartbeat_timeout = absl::InfiniteDuration();
  options.load.model = {.name = "bench",
                        .layers = 4,
                        .hidden = 64,
                        .heads = 4,
                        .ffn = 128,
                        .vocab = 50272,
                        .positions = 2048,
                        .embed = 64};
  auto plan = spec::EvenShardPlan(options.load.model, tp, 1);
  PAMIR_CHECK(plan.ok(), plan.status().ToString());
  options.load.plan = *std::move(plan);
  options.load.plan.limits = {.block_size = 16,
                              .num_blocks = 64 * 128,
                              .max_num_seqs = 64,
                              .max_num_batched_tokens = 2048,
                              .max_model_len = 2048,
                              .text_vocab = 50265};
  return options;
}

}  // namespace pamir::bench

#endif  // PAMIR_TESTS_BENCH_COORDINATOR_STEP_COST_H_
