// The coordinator without threads, clock and sockets: inputs and the time go in, messages go out
// through Links, tokens through sinks. One thread; a simulation drives it as the real loop does.
#ifndef PAMIR_CLUSTER_COORDINATOR_CORE_H_
#define PAMIR_CLUSTER_COORDINATOR_CORE_H_

#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "cluster/coordinator/admission.h"
#include "cluster/coordinator/formation.h"
#include "cluster/coordinator/membership.h"
#include "cluster/coordinator/options.h"
#include "cluster/coordinator/step_loop.h"
#include "cluster/wire/links.h"

namespace pamir::coordinator {

// ---- what can happen to a coordinator ----
struct Joined {
  wire::LinkId link;
  wire::Join join;
};
struct FromLink {
  wire::LinkId link;
  wire::FromWorker message;
};
struct LinkGone {
  wire::LinkId link;
  absl::Status reason;
};
struct Submitted {  // admitted by Admission
  flow::TokenRequest request;
  std::shared_ptr<flow::TokenSink> sink;
};
struct DrainOrder {};  // finish what runs, then end
struct StopOrder {};   // end now

using Input = std::variant<Joined, FromLink, LinkGone, Submitted, flow::Cancel, flow::Stop,
                           DrainOrder, StopOrder>;

class Core {
 public:
  enum class Phase : uint8_t {
    kJoining,  // waiting for workers
    kLoading,  // ranks are given
    kServing,
    kDraining,  // nothing new is taken; what runs goes on
    kLeaving,   // workers were told to go
    kEnded,
  };

  // `links` and `admission` must outlive it.
  Core(const CoordinatorOptions& options, wire::Links* links, Admission* admission, absl::Time now);

  void Handle(Input input, absl::Time now);
  // Behind a batch of inputs, and at least every TickInterval(): deadlines, then the next step.
  void Proceed(absl::Time now);
  absl::Duration TickInterval() const;

  Phase phase() const { return phase_; }
  bool step_out() const { return steps_.step_out(); }
  // Why the cluster ends or has ended; OK where it was asked to, or has not.
  const absl::Status& status() const { return status_; }
  flow::EngineStats Stats() const;

 private:
  // core.cc: inputs.
  void On(Joined input, absl::Time now);
  void On(FromLink input, absl::Time now);
  void On(const LinkGone& input, absl::Time now);
  void On(Submitted input, absl::Time now);
  void On(flow::Cancel input, absl::Time) { steps_.Cancel(input.id); }
  void On(flow::Stop input, absl::Time) { steps_.Stop(input); }
  void On(DrainOrder, absl::Time now);
  void On(StopOrder, absl::Time now);
  void OnFailed(Member& member, const wire::Failed& failed, absl::Time now);
  void OnDrained(Member& member, absl::Time now);
  void MaybeServe();
  void CheckLiveness(absl::Time now);
  void CheckDraining(absl::Time now);

  // core_end.cc: the end.
  void Lose(Member& member, const std::string& why, absl::Time now);
  void End(const absl::Status& status, const std::string& reason, absl::Time now);
  void Leave(bool clean, const std::string& reason, absl::Time now);
  void MaybeEnd(absl::Time now);

  const CoordinatorOptions options_;
  wire::Links* const links_;
  Admission* const admission_;
  Membership members_;
  Formation formation_;
  StepLoop steps_;

  Phase phase_ = Phase::kJoining;
  Epoch epoch_;
  absl::Status status_;
  absl::Time last_proceed_;
  absl::Time next_tick_ = absl::InfinitePast();
  absl::Time leave_by_ = absl::InfiniteFuture();  // kDraining: what runs; kLeaving: workers
  bool drain_sent_ = false;

  // A rank's failure that may be the consequence of another rank's loss, which is then soon heard
  // of.
  struct Suspicion {
    wire::LinkId link;
    std::string why;
    absl::Time since;
    bool gone = false;  // it has left, too
  };
  std::optional<Suspicion> suspicion_;
};

}  // namespace pamir::coordinator

#endif  // PAMIR_CLUSTER_COORDINATOR_CORE_H_
