#include "sim/sim_worker.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace pamir::sim {
namespace {

constexpr absl::Duration kBeat = absl::Milliseconds(500);
constexpr uint32_t kRounds = 2;

}  // namespace

SimWorker::SimWorker(Timeline* timeline, int index,
                     std::function<void(const wire::FromWorker&)> send,
                     std::function<void(const std::string& why)> gone)
    : timeline_(timeline), index_(index), send_(std::move(send)), gone_(std::move(gone)) {
  timeline_->After(timeline_->Delay(absl::Milliseconds(200)), [this] {
    Send(testing::FakeJoin(absl::StrCat("host-", index_ % 2), index_));
    Beat();
  });
}

void SimWorker::Beat() {
  if (!alive_) return;
  Send(wire::Heartbeat{});
  timeline_->After(kBeat, [this] { Beat(); });
}

void SimWorker::Later(absl::Duration takes, std::function<void()> what) {
  busy_until_ = std::max(busy_until_, timeline_->now()) + takes;
  timeline_->At(busy_until_, [this, what = std::move(what)] {
    if (alive_) what();
  });
}

void SimWorker::OnMessage(wire::ToWorker message) {
  if (!alive_) return;
  if (auto* load = std::get_if<wire::Load>(&message)) {
    load_ = std::move(load->request);
    Later(timeline_->Delay(absl::Milliseconds(400)), [this] { Load(); });
  } else if (const auto* answer = std::get_if<wire::Exchanged>(&message)) {
    OnExchanged(*answer);
  } else if (auto* plan = std::get_if<flow::StepPlan>(&message)) {
    Later(timeline_->Delay(absl::Milliseconds(3)), [this, plan = std::move(*plan)] { Step(plan); });
  } else if (std::holds_alternative<wire::Drain>(message)) {
    Later(absl::ZeroDuration(), [this] { Send(wire::Drained{}); });
  } else if (std::holds_alternative<wire::Shutdown>(message)) {
    Die("left");
  }
}

void SimWorker::Load() {
  engine_ = testing::MakeFakeRank(load_);
  Send(wire::LoadProgress{load_.epoch, 10, 10});
  Exchange(0);
}

void SimWorker::Exchange(uint32_t round) {
  Send(wire::ExchangeBlob{load_.epoch, round, absl::StrCat(load_.rank, "/", round)});
}

void SimWorker::OnExchanged(const wire::Exchanged& answer) {
  for (size_t rank = 0; rank < answer.blobs.size(); ++rank) {
    if (answer.blobs[rank] != absl::StrCat(rank, "/", answer.round)) {
      error_ = absl::StrCat("exchange ", answer.round, " mixed up the ranks");
    }
  }
  if (answer.round + 1 < kRounds) return Exchange(answer.round + 1);
  Send(wire::Ready{load_.epoch, 1, 2, "sim"});
}

void SimWorker::Step(const flow::StepPlan& plan) {
  absl::StatusOr<flow::StepResult> result = engine_->Step(plan);
  if (!result.ok()) {
    error_ = absl::StrCat("rank ", load_.rank, ": ", result.status().ToString());
    return Send(wire::Failed{load_.epoch, result.status()});
  }
  const bool samples = load_.rank == spec::RankAt(load_.plan, load_.plan.pipeline() - 1, 0);
  if (!samples) result->sampled.clear(), result->prompt_logprobs.clear();
  Send(*std::move(result));
}

void SimWorker::Die(const std::string& why) {
  if (!std::exchange(alive_, false)) return;
  gone_(why);
}

}  // namespace pamir::sim
