#include "cluster/worker/engine_loop.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "base/units.h"

namespace pamir::worker {
namespace {

// How long a wait for the next step may spin, right behind a step (docs/ARCHITECTURE.md, threads).
constexpr absl::Duration kSpin = absl::Microseconds(50);
// While the device computes: how long to look for more work before asking it again.
constexpr absl::Duration kLookEvery = absl::Microseconds(10);
constexpr absl::Duration kProgressEvery = absl::Milliseconds(200);

}  // namespace

EngineLoop::EngineLoop(RankFactory factory, SendFn send, int cores, absl::Duration exchange_timeout)
    : factory_(std::move(factory)),
      send_(std::move(send)),
      cores_(cores),
      exchange_(send_, exchange_timeout) {}

EngineLoop::~EngineLoop() { abort_.Clear(); }

void EngineLoop::Abort(const absl::Status& why) {
  exchange_.Abort(why);
  abort_.Fire(why);
}

void EngineLoop::Stop() {
  stop_.store(true);
  if (loading_.load()) Abort(absl::CancelledError("stopped while loading"));
  queue_.Wake();
}

absl::Status EngineLoop::Run() {
  bool stepping = false;  // the last work was a step: the next is near
  absl::Status status;
  while (status.ok() && !stop_.load()) {
    auto works = TakeWork(stepping);
    for (Work& work : works) {
      stepping = std::holds_alternative<flow::StepPlan>(work);
      status = RunWork(work);
      if (!status.ok() || stop_.load()) break;
    }
    if (status.ok() && !begun_.empty() && rank_->CanFinish()) status = FinishStep();
  }
  // A stop lets what was begun come to its end; whoever gives up meanwhile aborts it.
  while (status.ok() && !begun_.empty()) status = FinishStep();
  abort_.Clear();
  rank_.reset();
  return stop_.load() ? absl::OkStatus() : status;
}

// While a step is out, the next one is looked for without sleeping: the device should never wait.
std::deque<EngineLoop::Work> EngineLoop::TakeWork(bool stepping) {
  if (begun_.empty()) {
    return queue_.PopAll(absl::InfiniteDuration(),
                         stepping && spin_ ? kSpin : absl::ZeroDuration());
  }
  return queue_.PopAll(absl::ZeroDuration(),
                       rank_->CanFinish() ? absl::ZeroDuration() : kLookEvery);
}

absl::Status EngineLoop::RunWork(Work& work) {
  if (const auto* plan = std::get_if<flow::StepPlan>(&work)) return BeginStep(*plan);
  while (!begun_.empty()) PAMIR_RETURN_IF_ERROR(FinishStep());
  if (const auto* load = std::get_if<wire::Load>(&work)) return Load(*load);
  send_(wire::Drained{});
  return absl::OkStatus();
}

absl::Status EngineLoop::BeginStep(const flow::StepPlan& plan) {
  if (plan.epoch != epoch_) return absl::OkStatus();  // of a membership that is gone
  if (rank_ == nullptr) return absl::InternalError("a step came before the rank was loaded");
  while (static_cast<int>(begun_.size()) > rank_->steps_ahead()) {
    PAMIR_RETURN_IF_ERROR(FinishStep());
  }
  begun_.push_back(absl::Now());
  return rank_->Begin(plan);
}

// The oldest step that was begun.
absl::Status EngineLoop::FinishStep() {
  PAMIR_ASSIGN_OR_RETURN(flow::StepResult result, rank_->Finish());
  const absl::Duration took = absl::Now() - begun_.front();
  begun_.pop_front();
  if (result.engine_us == 0) result.engine_us = absl::ToInt64Microseconds(took);
  steps_.fetch_add(1, std::memory_order_relaxed);
  send_(result);
  return absl::OkStatus();
}

absl::Status EngineLoop::Load(const wire::Load& load) {
  const flow::LoadRequest& request = load.request;
  abort_.Clear();
  rank_.reset();
  epoch_ = request.epoch;
  spin_ = cores_ >= request.ranks_on_host;
  exchange_.BeginEpoch(epoch_);
  RankReport report;
  const absl::Time start = absl::Now();
  loading_.store(true);
  if (stop_.load()) return absl::CancelledError("stopped before loading");
  auto rank = factory_(request, MakeHooks(&report));
  loading_.store(false);
  if (!rank.ok()) return rank.status();
  rank_ = *std::move(rank);
  if (rank_ == nullptr) return absl::InternalError("the engine gave no rank");
  LogInfo(absl::StrCat(
      "rank ", request.rank, " is loaded: ", HumanBytes(report.weight_bytes), " of weights, ",
      HumanBytes(report.kv_bytes), " of KV cache, in ",
      absl::FormatDuration(absl::Floor(absl::Now() - start, absl::Milliseconds(100)))));
  send_(wire::Ready{epoch_, report.weight_bytes, report.kv_bytes, report.transport});
  return absl::OkStatus();
}

RankHooks EngineLoop::MakeHooks(RankReport* report) {
  return RankHooks{
      .exchange = [this](const std::string& mine) { return exchange_.Exchange(mine); },
      .progress = [this](int64_t done, int64_t total) { SendProgress(done, total); },
      .on_abort = [this](AbortHook::Callback abort) { abort_.Set(std::move(abort)); },
      .report = [report](const RankReport& given) { *report = given; },
      .stop_requested = [this] { return stop_.load(); },
  };
}

void EngineLoop::SendProgress(int64_t done, int64_t total) {
  {
    absl::MutexLock lock(&progress_mutex_);
    const absl::Time now = absl::Now();
    if (done < total && now < next_progress_) return;
    next_progress_ = now + kProgressEvery;
  }
  send_(wire::LoadProgress{epoch_, done, total});
}

}  // namespace pamir::worker
