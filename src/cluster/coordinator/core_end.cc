// How a cluster ends, and what it tells about itself.
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "cluster/coordinator/core.h"

namespace pamir::coordinator {

void Core::Lose(Member& member, const std::string& why, absl::Time now) {
  if (phase_ >= Phase::kLeaving) return;
  const std::string reason = absl::StrCat(member.Describe(), " was lost: ", why);
  const wire::LinkId link = member.link;
  links_->Close(link, absl::AbortedError(reason));
  members_.Remove(link);  // `member` may be gone now
  if (phase_ == Phase::kJoining) return LogWarning(reason);
  End(absl::UnavailableError(reason), reason, now);
}

// In this form of the cluster a lost rank ends it: all requests fail with the reason, and all other
// workers are freed from what they wait for before they are told to go.
void Core::End(const absl::Status& status, const std::string& reason, absl::Time now) {
  status_ = status;
  if (suspicion_ && suspicion_->gone) members_.Remove(suspicion_->link);
  suspicion_.reset();
  if (!status.ok()) LogError(absl::StrCat("the cluster ends: ", reason));
  admission_->Close(absl::UnavailableError(absl::StrCat("the server ends: ", reason)));
  steps_.FailAll(reason);
  if (!status.ok() && members_.ranked()) {
    links_->SendToAll(members_.PresentLinks(), wire::Abort{epoch_, reason});
  }
  Leave(status.ok(), reason, now);
}

void Core::Leave(bool clean, const std::string& reason, absl::Time now) {
  links_->SendToAll(members_.PresentLinks(), wire::Shutdown{clean, reason});
  phase_ = Phase::kLeaving;
  leave_by_ = now + options_.leave_timeout;
}

void Core::MaybeEnd(absl::Time now) {
  if (members_.present() == 0 || now >= leave_by_) phase_ = Phase::kEnded;
}

flow::EngineStats Core::Stats() const {
  const sched::SchedulerStats sched = steps_.Stats();
  const spec::ShardPlan& plan = options_.load.plan;
  flow::EngineStats stats;
  stats.ready = phase_ == Phase::kServing;
  stats.draining = phase_ >= Phase::kDraining;
  stats.model = options_.load.model.name;
  stats.max_model_len = plan.limits.max_model_len;
  stats.vocab_size = plan.limits.text_vocab > 0 ? plan.limits.text_vocab
                                                : static_cast<int32_t>(options_.load.model.vocab);
  stats.epoch = epoch_;
  stats.steps = sched.steps;
  stats.running = sched.running;
  stats.waiting = sched.waiting;
  stats.max_running = sched.max_running;
  stats.max_waiting = options_.max_waiting;
  stats.blocks_total = sched.blocks_total;
  stats.blocks_free = sched.blocks_free;
  stats.block_size = sched.block_size;
  stats.requests_finished = sched.requests_finished;
  stats.tokens_generated = sched.tokens_generated;
  stats.preemptions = sched.preemptions;
  for (int rank = 0; rank < members_.world_size(); ++rank) {
    const spec::RankPlace place = spec::PlaceOfRank(plan, rank);
    const Range layers = plan.stages[place.stage].layers;
    flow::RankStats one{.rank = rank,
                        .stage = place.stage,
                        .tensor_index = place.tensor_index,
                        .first_layer = static_cast<int32_t>(layers.begin),
                        .layers = static_cast<int32_t>(layers.size())};
    if (rank < members_.joined()) {
      const Member& member = *members_.members()[rank];
      one.state = member.state;
      one.host = member.info.host_name;
      one.device = member.info.device;
      one.build = member.info.build_id;
      one.weight_bytes = member.ready.weight_bytes;
      one.kv_bytes = member.ready.kv_bytes;
      one.load_fraction = member.load_fraction;
    }
    stats.ranks.push_back(std::move(one));
  }
  return stats;
}

}  // namespace pamir::coordinator
