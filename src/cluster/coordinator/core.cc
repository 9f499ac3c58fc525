#include "cluster/coordinator/core.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"

namespace pamir::coordinator {
namespace {

constexpr absl::Duration kTickWhenBusy = absl::Milliseconds(20);
constexpr absl::Duration kTickWhenIdle = absl::Milliseconds(500);
constexpr absl::Duration kTickOtherwise = absl::Milliseconds(100);  // forming, leaving
constexpr absl::Duration kTickAtMostEvery = absl::Milliseconds(5);
// The loop itself was away this long (a stopped process): nobody else is to blame for silence.
constexpr absl::Duration kAway = absl::Seconds(2);
// Within this time the loss of a rank explains another rank's failure.
constexpr absl::Duration kSuspicion = absl::Milliseconds(500);

std::string MessageOf(const absl::Status& status) {
  return std::string(status.message().data(), status.message().size());
}

// What a rank says when a peer is gone.
bool MayBeConsequence(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) ||
         absl::IsAborted(status) || absl::IsCancelled(status);
}

}  // namespace

Core::Core(const CoordinatorOptions& options, wire::Links* links, Admission* admission,
           absl::Time now)
    : options_(options),
      links_(links),
      admission_(admission),
      members_(options.load.plan.ranks()),
      formation_(options_, links, &members_, now),
      steps_(options_, links, admission),
      last_proceed_(now) {}

void Core::Handle(Input input, absl::Time now) {
  std::visit([&](auto& one) { On(std::move(one), now); }, input);
}

void Core::On(Joined input, absl::Time now) {
  if (phase_ >= Phase::kDraining) {
    return links_->Close(input.link, absl::UnavailableError("the cluster is being shut down"));
  }
  formation_.OnJoin(input.link, std::move(input.join), now);
  if (phase_ != Phase::kJoining || !members_.complete()) return;
  phase_ = Phase::kLoading;
  ++epoch_.value;
  formation_.BeginLoading(epoch_, now);
}

void Core::On(FromLink input, absl::Time now) {
  Member* member = members_.Find(input.link);
  if (member == nullptr) return;
  member->last_heard = now;
  absl::Status status;
  if (auto* result = std::get_if<flow::StepResult>(&input.message)) {
    if (member->rank >= 0) status = steps_.OnResult(member->rank, std::move(*result));
  } else if (auto* blob = std::get_if<wire::ExchangeBlob>(&input.message)) {
    if (member->rank >= 0) status = formation_.OnExchange(*member, std::move(*blob), now);
  } else if (const auto* progress = std::get_if<wire::LoadProgress>(&input.message)) {
    formation_.OnProgress(*member, *progress, now);
  } else if (auto* ready = std::get_if<wire::Ready>(&input.message)) {
    formation_.OnReady(*member, std::move(*ready));
    MaybeServe();
  } else if (const auto* failed = std::get_if<wire::Failed>(&input.message)) {
    OnFailed(*member, *failed, now);
  } else if (std::holds_alternative<wire::Drained>(input.message)) {
    OnDrained(*member, now);
  }
  if (!status.ok()) Lose(*member, MessageOf(status), now);
}

void Core::MaybeServe() {
  if (phase_ != Phase::kLoading || !formation_.all_ready()) return;
  phase_ = Phase::kServing;
  const spec::ShardPlan& plan = options_.load.plan;
  steps_.BeginEpoch(epoch_, members_.PresentLinks(), spec::RankAt(plan, plan.pipeline() - 1, 0));
  admission_->Open();
  LogInfo(
      absl::StrCat("ready: ", members_.world_size(), " ranks serve ", options_.load.model.name));
}

void Core::OnFailed(Member& member, const wire::Failed& failed, absl::Time now) {
  const std::string why = absl::StrCat("it failed: ", MessageOf(failed.status));
  if (phase_ == Phase::kJoining || !MayBeConsequence(failed.status) || members_.world_size() == 1) {
    return Lose(member, why, now);
  }
  if (phase_ >= Phase::kLeaving || suspicion_) return;
  suspicion_ = Suspicion{member.link, why, now};
}

void Core::OnDrained(Member& member, absl::Time now) {
  member.drained = true;
  if (phase_ < Phase::kDraining) Lose(member, "it was stopped", now);
}

void Core::On(const LinkGone& input, absl::Time now) {
  Member* member = members_.Find(input.link);
  if (member == nullptr) return;
  // The rank that failed first leaves by itself; wait for the one that it blames.
  if (suspicion_ && suspicion_->link == input.link) {
    suspicion_->gone = true;
    return;
  }
  if (phase_ == Phase::kJoining || phase_ >= Phase::kLeaving || member->drained) {
    LogInfo(absl::StrCat(member->Describe(), " left"));
    return members_.Remove(input.link);
  }
  Lose(*member, MessageOf(input.reason), now);
}

void Core::On(Submitted input, absl::Time) {
  steps_.Submit(std::move(input.request), std::move(input.sink));
  if (phase_ >= Phase::kLeaving) steps_.FailAll("the server is shutting down");
}

void Core::On(DrainOrder, absl::Time now) {
  if (phase_ >= Phase::kDraining) return;
  if (phase_ != Phase::kServing) return On(StopOrder{}, now);
  LogInfo("draining: nothing new is taken, what runs is finished");
  admission_->Close(absl::UnavailableError("the server is shutting down"));
  phase_ = Phase::kDraining;
  leave_by_ = now + options_.drain_timeout;
}

void Core::On(StopOrder, absl::Time now) {
  if (phase_ < Phase::kLeaving) End(absl::OkStatus(), "the server is shutting down", now);
}

// What runs has finished, or its time is over: all ranks drain, and then leave.
void Core::CheckDraining(absl::Time now) {
  if (!drain_sent_) {
    if (!steps_.idle() && now < leave_by_) return;
    steps_.FailAll("the server is shutting down");
    links_->SendToAll(members_.PresentLinks(), wire::Drain{});
    drain_sent_ = true;
    leave_by_ = now + options_.leave_timeout;
  }
  const auto& all = members_.members();
  const bool drained = std::all_of(all.begin(), all.end(), [](const auto& member) {
    return member->drained || member->state == flow::RankState::kLost;
  });
  if (drained || now >= leave_by_) Leave(/*clean=*/true, "", now);
}

void Core::CheckLiveness(absl::Time now) {
  if (now - last_proceed_ > kAway) members_.Forgive(now);
  if (suspicion_ && now - suspicion_->since >= kSuspicion) {
    const Suspicion suspicion = *suspicion_;
    return Lose(*members_.Find(suspicion.link), suspicion.why, now);
  }
  if (const Member* silent = members_.Silent(now - options_.heartbeat_timeout)) {
    return Lose(*members_.Find(silent->link),
                absl::StrCat("nothing was heard of it for ",
                             absl::FormatDuration(options_.heartbeat_timeout)),
                now);
  }
  if (const auto late = steps_.LateRank(now - options_.step_timeout)) {
    return Lose(members_.at_rank(*late),
                absl::StrCat("it did not answer a step within ",
                             absl::FormatDuration(options_.step_timeout)),
                now);
  }
  const absl::Status status = formation_.CheckDeadlines(now);
  if (!status.ok()) End(status, MessageOf(status), now);
}

void Core::Proceed(absl::Time now) {
  if (now >= next_tick_) {
    next_tick_ = now + kTickAtMostEvery;
    if (phase_ <= Phase::kLoading) formation_.MaybeLogProgress(now);
    if (phase_ < Phase::kLeaving) CheckLiveness(now);
    if (steps_.has_requests()) steps_.Tick(now);
  }
  if (phase_ == Phase::kDraining) CheckDraining(now);
  if (phase_ == Phase::kLeaving) MaybeEnd(now);
  last_proceed_ = now;
  if (!suspicion_) steps_.Proceed(now);
}

absl::Duration Core::TickInterval() const {
  if (phase_ != Phase::kServing || suspicion_) return kTickOtherwise;
  return steps_.has_requests() ? kTickWhenBusy : kTickWhenIdle;
}

}  // namespace pamir::coordinator
