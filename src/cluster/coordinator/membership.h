// Who is in the cluster, as what, and when they were last heard of. Plain state; the loop's thread.
#ifndef PAMIR_CLUSTER_COORDINATOR_MEMBERSHIP_H_
#define PAMIR_CLUSTER_COORDINATOR_MEMBERSHIP_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "cluster/wire/messages.h"
#include "core/flow/ports.h"

namespace pamir::coordinator {

struct Member {
  wire::LinkId link;
  wire::Join info;
  int32_t rank = -1;  // until all have joined
  int32_t ranks_on_host = 1;
  flow::RankState state = flow::RankState::kJoined;
  double load_fraction = 0;
  wire::Ready ready;
  absl::Time last_heard;
  absl::Time last_progress;  // of loading
  bool drained = false;

  // "rank 1 (host-b, pid 4711)"
  std::string Describe() const;
};

class Membership {
 public:
  explicit Membership(int world_size) : world_size_(world_size) {}

  // False: all places are taken.
  bool Add(wire::LinkId link, wire::Join info, absl::Time now);
  // Before ranks are given the place becomes free again; afterwards the member stays, as lost.
  void Remove(wire::LinkId link);
  // Ranks of one host are adjacent: hosts in the order in which their first worker came, workers in
  // the order in which they came. All have joined.
  void AssignRanks();

  Member* Find(wire::LinkId link);                       // null where unknown or lost
  Member& at_rank(int rank) { return *members_[rank]; }  // after AssignRanks
  // In rank order once ranks are given, else in the order of joining.
  const std::vector<std::unique_ptr<Member>>& members() const { return members_; }

  int world_size() const { return world_size_; }
  int joined() const { return static_cast<int>(members_.size()); }
  bool complete() const { return joined() == world_size_; }
  bool ranked() const { return ranked_; }
  int present() const;  // not lost
  std::vector<wire::LinkId> PresentLinks() const;
  bool AllInState(flow::RankState state) const;

  // Nothing was heard since `since`: the longest silent one, or null.
  const Member* Silent(absl::Time since) const;
  // As if all had just been heard: after the loop itself was away.
  void Forgive(absl::Time now);

 private:
  const int world_size_;
  bool ranked_ = false;
  std::vector<std::unique_ptr<Member>> members_;
};

}  // namespace pamir::coordinator

#endif  // PAMIR_CLUSTER_COORDINATOR_MEMBERSHIP_H_
