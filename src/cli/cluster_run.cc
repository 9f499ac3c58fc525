#include "cli/cluster_run.h"

#include <iostream>
#include <stop_token>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "cli/build_id.h"
#include "cli/signals.h"
#include "cluster/coordinator/coordinator.h"
#include "gateway/grpc_server.h"
#include "gateway/listen_address.h"
#include "pamir/client.h"
#include "pamir/version.h"

namespace pamir::cli {
namespace {

constexpr absl::Duration kWatchEvery = absl::Milliseconds(200);
constexpr absl::Duration kDrainWithin = absl::Seconds(30);
// For running streams to be told why they end.
constexpr absl::Duration kFarewell = absl::Seconds(2);
// For the coordinator to find out itself why a worker ended: it knows more than an exit status.
constexpr absl::Duration kExplainWithin = absl::Seconds(3);
constexpr absl::Duration kReportEvery = absl::Seconds(2);

coordinator::CoordinatorOptions OptionsOf(const EngineFlags& flags, const EngineSetup& setup) {
  coordinator::CoordinatorOptions options;
  options.load = setup.load;
  options.load.model.name = setup.served_name;
  options.build_id = BuildId();
  options.max_waiting = flags.max_waiting;
  options.join_timeout = absl::Seconds(flags.worker_timeout_s);
  options.step_timeout = 2 * setup.load.comm_timeout;
  options.spin = std::thread::hardware_concurrency() > 1;
  return options;
}

void ReportLoading(const flow::EngineStats& stats, int ranks) {
  int joined = 0;
  double loaded = 0;
  for (const flow::RankStats& rank : stats.ranks) {
    if (rank.state != flow::RankState::kAbsent) ++joined;
    loaded += rank.state == flow::RankState::kReady ? 1 : rank.load_fraction;
  }
  LogInfo(absl::StrCat(joined, " of ", ranks, " workers have joined, ",
                       static_cast<int>(100 * loaded / ranks), " % of the weights are loaded"));
}

// The cluster as it runs; whatever ends it wakes the thread that waits here.
class Watch {
 public:
  Watch(const ClusterRun& run, coordinator::Coordinator* coordinator)
      : run_(run), coordinator_(coordinator), signals_([this](int) { Interrupt(); }) {}

  // OK: ready. CANCELLED: interrupted. Else why not.
  absl::Status UntilReady(int ranks) {
    absl::Time next_report = absl::Now() + kReportEvery;
    while (true) {
      const absl::Status ready = coordinator_->WaitUntilReady(kWatchEvery);
      if (ready.ok()) return ready;
      PAMIR_RETURN_IF_ERROR(Check());
      if (absl::Now() < next_report) continue;
      ReportLoading(coordinator_->Stats(), ranks);
      next_report += kReportEvery;
    }
  }

  // CANCELLED: interrupted. Else why the cluster has ended.
  absl::Status UntilEnd() {
    while (true) {
      interrupted_.WaitForNotificationWithTimeout(kWatchEvery);
      PAMIR_RETURN_IF_ERROR(Check());
    }
  }

  // For what this thread does meanwhile: stopped with the interruption.
  std::stop_token stop_token() const { return stop_.get_token(); }

 private:
  void Interrupt() {
    if (!interrupted_.HasBeenNotified()) interrupted_.Notify();
    stop_.request_stop();
  }

  absl::Status Check() {
    if (interrupted_.HasBeenNotified()) return absl::CancelledError("interrupted");
    if (coordinator_->ended()) return Ended();
    const std::optional<std::string> failure = run_.failure ? run_.failure() : std::nullopt;
    if (!failure) return absl::OkStatus();
    const absl::Time until = absl::Now() + kExplainWithin;
    while (!coordinator_->ended() && absl::Now() < until) absl::SleepFor(kWatchEvery / 10);
    return coordinator_->ended() ? Ended() : absl::UnavailableError(*failure);
  }

  absl::Status Ended() {
    const absl::Status why = coordinator_->WaitUntilEnded();
    return why.ok() ? absl::UnavailableError("the cluster has ended") : why;
  }

  const ClusterRun& run_;
  coordinator::Coordinator* const coordinator_;
  absl::Notification interrupted_;
  std::stop_source stop_;
  SignalThread signals_;
};

void PrintSample(const std::string& target, const std::string& prompt,
                 const std::stop_token& stop) {
  const auto client = Client::Connect(target, std::chrono::seconds(5));
  if (!client.ok()) return LogWarning(absl::StrCat("no sample: ", client.error.message));
  GenerateParams params;
  params.prompt = prompt;
  params.temperature = 0.8f;
  params.top_p = 0.9f;
  params.stop.max_tokens = 80;
  std::cout << "\n" << prompt << std::flush;
  CallOptions options;
  options.stop = stop;
  const auto result = client.value->Generate(
      params, [](const GenerateChunk& chunk) { std::cout << chunk.text << std::flush; }, options);
  std::cout << (result.ok() ? " ...\n" : "\n") << std::endl;
  if (!result.ok() && !stop.stop_requested())
    LogWarning(absl::StrCat("no sample: ", result.error.message));
}

absl::Status ServeUntilEnd(const ClusterRun& run, const EngineSetup& setup,
                           coordinator::Coordinator* coordinator, gateway::GrpcServer* door) {
  Watch watch(run, coordinator);
  const spec::ShardPlan& plan = setup.load.plan;
  absl::Status status = watch.UntilReady(plan.ranks());
  if (status.ok()) {
    const std::string target = gateway::HostPort(run.flags.host, door->port());
    std::cout << "Pamir " << kVersion << " serves " << setup.served_name << " on " << plan.ranks()
              << (plan.ranks() == 1 ? " worker" : " workers") << " (tp "
              << plan.stages.front().shards.size() << ", pp " << plan.pipeline() << "), context "
              << plan.limits.max_model_len << "\ngRPC  " << target << std::endl;
    if (!run.sample.empty()) PrintSample(target, run.sample, watch.stop_token());
    status = watch.UntilEnd();
  }
  if (!absl::IsCancelled(status)) {
    door->Drain(absl::Now() + kFarewell);
    return status;
  }
  door->Drain(absl::Now() + kDrainWithin);
  coordinator->Drain();
  return coordinator->WaitUntilEnded();
}

}  // namespace

absl::Status RunCluster(const ClusterRun& run) {
  PAMIR_ASSIGN_OR_RETURN(const EngineSetup setup, SetUpEngine(run.flags, run.device));
  coordinator::Coordinator coordinator(OptionsOf(run.flags, setup));
  PAMIR_ASSIGN_OR_RETURN(
      const std::unique_ptr<gateway::GrpcServer> door,
      gateway::GrpcServer::Start({.host = run.flags.host, .port = run.flags.grpc_port},
                                 &coordinator, setup.text.get()));
  PAMIR_ASSIGN_OR_RETURN(const std::unique_ptr<wire::ControlServer> control,
                         wire::ControlServer::Start(run.listen, &coordinator));
  coordinator.Start(control.get());
  absl::Status status = absl::OkStatus();
  if (run.on_listening) status = run.on_listening(control->address());
  if (status.ok()) status = ServeUntilEnd(run, setup, &coordinator, door.get());
  coordinator.Stop();
  return status;
}

}  // namespace pamir::cli
