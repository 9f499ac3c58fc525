#include "cluster/coordinator/formation.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace pamir::coordinator {
namespace {

constexpr absl::Duration kLogEvery = absl::Seconds(5);

}  // namespace

Formation::Formation(const CoordinatorOptions& options, wire::Links* links, Membership* members,
                     absl::Time now)
    : options_(options),
      links_(links),
      members_(members),
      rounds_(members->world_size()),
      began_(now),
      next_log_(now + kLogEvery) {}

absl::Status Formation::CheckBuild(const wire::Join& join) const {
  if (join.build_id == options_.build_id) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "the worker is build '", EscapeForLog(join.build_id, 100), "', the coordinator is build '",
      options_.build_id, "': start the same build of pamir on all hosts"));
}

// A worker's device is "cpu", or begins with "cuda".
absl::Status Formation::CheckDevice(const wire::Join& join) const {
  const bool is_gpu = absl::StartsWith(join.device, spec::Name(spec::DeviceKind::kCuda));
  const spec::DeviceKind wanted = options_.load.plan.device;
  if (is_gpu == (wanted == spec::DeviceKind::kCuda)) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "the worker runs on ", EscapeForLog(join.device, 100), ", the cluster's ranks on ",
      spec::Name(wanted), ": start the worker with --device ", spec::Name(wanted),
      ", or the coordinator with --device ", is_gpu ? "cuda" : "cpu"));
}

void Formation::OnJoin(wire::LinkId link, wire::Join join, absl::Time now) {
  absl::Status status = CheckBuild(join);
  if (status.ok()) status = CheckDevice(join);
  const std::string who = absl::StrCat(EscapeForLog(join.host_name, 64), ", pid ", join.pid, ", ",
                                       EscapeForLog(join.device, 64));
  if (status.ok() && !members_->Add(link, std::move(join), now)) {
    status = absl::FailedPreconditionError(
        absl::StrCat("all ", members_->world_size(), " places of this cluster are taken"));
  }
  if (!status.ok()) {
    LogWarning(absl::StrCat("refused a worker (", who, "): ", status.ToString()));
    return links_->Close(link, status);
  }
  LogInfo(absl::StrCat("worker ", members_->joined(), " of ", members_->world_size(), " joined (",
                       who, ")"));
}

void Formation::BeginLoading(Epoch epoch, absl::Time now) {
  members_->AssignRanks();
  epoch_ = epoch;
  began_ = now;
  next_log_ = now + kLogEvery;
  for (const auto& member : members_->members()) {
    member->state = flow::RankState::kLoading;
    member->last_progress = now;
    wire::Load load{options_.load};
    load.request.epoch = epoch;
    load.request.rank = member->rank;
    load.request.ranks_on_host = member->ranks_on_host;
    links_->Send(member->link, wire::Welcome{epoch, member->rank, members_->world_size()});
    links_->Send(member->link, std::move(load));
  }
}

absl::Status Formation::OnExchange(Member& member, wire::ExchangeBlob blob, absl::Time now) {
  if (blob.epoch != epoch_) return absl::OkStatus();
  PAMIR_ASSIGN_OR_RETURN(std::optional<wire::Exchanged> answer,
                         rounds_.Add(member.rank, std::move(blob), now));
  if (answer) links_->SendToAll(members_->PresentLinks(), *std::move(answer));
  return absl::OkStatus();
}

void Formation::OnProgress(Member& member, const wire::LoadProgress& progress, absl::Time now) {
  if (progress.epoch != epoch_ || progress.total <= 0) return;
  member.load_fraction = static_cast<double>(progress.done) / static_cast<double>(progress.total);
  member.last_progress = now;
}

void Formation::OnReady(Member& member, wire::Ready ready) {
  if (ready.epoch != epoch_ || member.state != flow::RankState::kLoading) return;
  member.state = flow::RankState::kReady;
  member.load_fraction = 1;
  member.ready = std::move(ready);
}

std::string Formation::NotReady() const {
  std::string names;
  for (const auto& member : members_->members()) {
    if (member->state == flow::RankState::kReady) continue;
    absl::StrAppend(&names, names.empty() ? "" : ", ", member->Describe());
  }
  return names;
}

// A rank that is still reading its weights comes to the exchange later; one that shows no progress
// does not.
absl::Status Formation::CheckExchange(absl::Time now) const {
  const std::vector<int> missing = rounds_.Missing();
  if (missing.empty()) return absl::OkStatus();
  absl::Time since = rounds_.waiting_since();
  std::string names;
  for (const int rank : missing) {
    const Member& member = members_->at_rank(rank);
    since = std::max(since, member.last_progress);
    absl::StrAppend(&names, names.empty() ? "" : ", ", member.Describe());
  }
  if (now - since < options_.exchange_timeout) return absl::OkStatus();
  return absl::DeadlineExceededError(absl::StrCat(names, " did not come to exchange ",
                                                  rounds_.round(), " within ",
                                                  absl::FormatDuration(options_.exchange_timeout)));
}

absl::Status Formation::CheckDeadlines(absl::Time now) const {
  if (!members_->ranked()) {
    if (now - began_ < options_.join_timeout) return absl::OkStatus();
    return absl::DeadlineExceededError(
        absl::StrCat(members_->joined(), " of ", members_->world_size(), " workers joined within ",
                     absl::FormatDuration(options_.join_timeout)));
  }
  if (all_ready()) return absl::OkStatus();
  PAMIR_RETURN_IF_ERROR(CheckExchange(now));
  if (now - began_ < options_.load_timeout) return absl::OkStatus();
  return absl::DeadlineExceededError(absl::StrCat(NotReady(), " did not load within ",
                                                  absl::FormatDuration(options_.load_timeout)));
}

void Formation::MaybeLogProgress(absl::Time now) {
  if (now < next_log_) return;
  next_log_ = now + kLogEvery;
  if (!members_->ranked()) {
    return LogInfo(absl::StrCat("waiting for workers: ", members_->joined(), " of ",
                                members_->world_size(), " are here"));
  }
  double sum = 0;
  for (const auto& member : members_->members()) sum += member->load_fraction;
  LogInfo(absl::StrCat("loading: ", std::floor(100 * sum / members_->world_size()), " %"));
}

}  // namespace pamir::coordinator
