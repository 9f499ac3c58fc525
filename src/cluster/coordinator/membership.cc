#include "cluster/coordinator/membership.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"

namespace pamir::coordinator {

std::string Member::Describe() const {
  const std::string where =
      absl::StrCat("(", EscapeForLog(info.host_name, 64), ", pid ", info.pid, ")");
  return rank < 0 ? absl::StrCat("a worker ", where) : absl::StrCat("rank ", rank, " ", where);
}

bool Membership::Add(wire::LinkId link, wire::Join info, absl::Time now) {
  if (complete()) return false;
  auto member = std::make_unique<Member>();
  member->link = link;
  member->info = std::move(info);
  member->last_heard = member->last_progress = now;
  members_.push_back(std::move(member));
  return true;
}

void Membership::Remove(wire::LinkId link) {
  Member* member = Find(link);
  if (member == nullptr) return;
  if (ranked_) {
    member->state = flow::RankState::kLost;
    return;
  }
  std::erase_if(members_, [&](const auto& m) { return m->link == link; });
}

void Membership::AssignRanks() {
  std::vector<std::string> hosts;  // in the order in which they came
  const auto host_index = [&](const std::string& host) {
    return std::find(hosts.begin(), hosts.end(), host) - hosts.begin();
  };
  for (const auto& member : members_) {
    const std::string& host = member->info.host_name;
    if (host_index(host) == static_cast<int64_t>(hosts.size())) hosts.push_back(host);
  }
  std::stable_sort(members_.begin(), members_.end(), [&](const auto& a, const auto& b) {
    return host_index(a->info.host_name) < host_index(b->info.host_name);
  });
  for (int rank = 0; rank < joined(); ++rank) {
    Member& member = *members_[rank];
    member.rank = rank;
    member.ranks_on_host = static_cast<int32_t>(std::count_if(
        members_.begin(), members_.end(),
        [&](const auto& other) { return other->info.host_name == member.info.host_name; }));
  }
  ranked_ = true;
}

Member* Membership::Find(wire::LinkId link) {
  for (const auto& member : members_) {
    if (member->link == link && member->state != flow::RankState::kLost) return member.get();
  }
  return nullptr;
}

int Membership::present() const { return static_cast<int>(PresentLinks().size()); }

std::vector<wire::LinkId> Membership::PresentLinks() const {
  std::vector<wire::LinkId> links;
  for (const auto& member : members_) {
    if (member->state != flow::RankState::kLost) links.push_back(member->link);
  }
  return links;
}

bool Membership::AllInState(flow::RankState state) const {
  return complete() && std::all_of(members_.begin(), members_.end(),
                                   [&](const auto& m) { return m->state == state; });
}

const Member* Membership::Silent(absl::Time since) const {
  const Member* silent = nullptr;
  for (const auto& member : members_) {
    if (member->state == flow::RankState::kLost || member->last_heard >= since) continue;
    if (silent == nullptr || member->last_heard < silent->last_heard) silent = member.get();
  }
  return silent;
}

void Membership::Forgive(absl::Time now) {
  for (const auto& member : members_) member->last_heard = now;
}

}  // namespace pamir::coordinator
