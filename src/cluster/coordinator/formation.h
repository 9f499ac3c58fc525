// From the first worker that joins to the last that is loaded. Plain state; the loop's thread.
#ifndef PAMIR_CLUSTER_COORDINATOR_FORMATION_H_
#define PAMIR_CLUSTER_COORDINATOR_FORMATION_H_

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "cluster/coordinator/exchange_rounds.h"
#include "cluster/coordinator/membership.h"
#include "cluster/coordinator/options.h"
#include "cluster/wire/links.h"

namespace pamir::coordinator {

// An error of a function that takes a member means that this member is broken.
class Formation {
 public:
  // Waiting for workers begins `now`. The pointers and options must outlive it.
  Formation(const CoordinatorOptions& options, wire::Links* links, Membership* members,
            absl::Time now);

  // Takes the worker in, or closes its link with the reason.
  void OnJoin(wire::LinkId link, wire::Join join, absl::Time now);

  // Once all have joined: gives ranks and tells all what to load.
  void BeginLoading(Epoch epoch, absl::Time now);

  absl::Status OnExchange(Member& member, wire::ExchangeBlob blob, absl::Time now);
  void OnProgress(Member& member, const wire::LoadProgress& progress, absl::Time now);
  void OnReady(Member& member, wire::Ready ready);
  bool all_ready() const { return members_->AllInState(flow::RankState::kReady); }

  // DEADLINE_EXCEEDED says who did not come, join an exchange, or get ready.
  absl::Status CheckDeadlines(absl::Time now) const;
  void MaybeLogProgress(absl::Time now);

 private:
  absl::Status CheckBuild(const wire::Join& join) const;
  absl::Status CheckDevice(const wire::Join& join) const;
  absl::Status CheckExchange(absl::Time now) const;
  std::string NotReady() const;

  const CoordinatorOptions& options_;
  wire::Links* const links_;
  Membership* const members_;
  ExchangeRounds rounds_;
  Epoch epoch_;       // 0: not all have joined
  absl::Time began_;  // waiting for workers, then loading
  absl::Time next_log_;
};

}  // namespace pamir::coordinator

#endif  // PAMIR_CLUSTER_COORDINATOR_FORMATION_H_
