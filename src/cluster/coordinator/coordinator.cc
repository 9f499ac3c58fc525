#include "cluster/coordinator/coordinator.h"

#include <utility>

#include "base/status_macros.h"

namespace pamir::coordinator {
namespace {

constexpr absl::Duration kSpin = absl::Microseconds(50);
constexpr absl::Duration kPublishEvery = absl::Milliseconds(20);
// A living request gives at most one submission, one cancellation and one stop; each link one
// arrival and one departure.
constexpr size_t kInputsPerRequest = 3, kInputsPerLink = 2;

size_t ReservedInputs(const CoordinatorOptions& options, const Admission& admission) {
  return kInputsPerRequest * static_cast<size_t>(admission.max_live()) +
         kInputsPerLink * static_cast<size_t>(wire::kMaxRanks) +
         static_cast<size_t>(options.load.plan.ranks());
}

bool CanWait(const wire::FromWorker& message) {
  return std::holds_alternative<wire::Heartbeat>(message) ||
         std::holds_alternative<wire::LoadProgress>(message);
}

}  // namespace

Coordinator::Coordinator(CoordinatorOptions options, Clock* clock)
    : options_(std::move(options)),
      clock_(clock),
      admission_(options_),
      reserved_inputs_(ReservedInputs(options_, admission_)),
      inbox_(kMaxWorkerInputs + reserved_inputs_) {}

Coordinator::~Coordinator() { Stop(); }

void Coordinator::Start(wire::Links* links) {
  links_.store(links);
  loop_ = std::thread([this, links] { LoopMain(links); });
}

void Coordinator::LoopMain(wire::Links* links) {
  Core core(options_, links, &admission_, clock_->Now());
  Publish(core, clock_->Now());
  while (core.phase() != Core::Phase::kEnded) {
    const bool spin = options_.spin && core.step_out();
    auto inputs = inbox_.PopAll(core.TickInterval(), spin ? kSpin : absl::ZeroDuration());
    const absl::Time now = clock_->Now();
    for (Input& input : inputs) core.Handle(std::move(input), now);
    core.Proceed(now);
    Publish(core, now);
  }
  FailLateComers(&core, clock_->Now());
  absl::MutexLock lock(&mutex_);
  status_ = core.status();
  ended_ = true;
}

// Who was admitted but not yet seen by the loop gets a last event, too.
void Coordinator::FailLateComers(Core* core, absl::Time now) {
  inbox_.Close();
  for (Input& input : inbox_.PopAll(absl::ZeroDuration(), absl::ZeroDuration())) {
    if (std::holds_alternative<Submitted>(input)) core->Handle(std::move(input), now);
  }
}

void Coordinator::Publish(const Core& core, absl::Time now) {
  // Often enough for whoever looks; always when there may be no next time soon.
  if (now < next_publish_ && core.step_out()) return;
  next_publish_ = now + kPublishEvery;
  flow::EngineStats stats = core.Stats();
  absl::MutexLock lock(&mutex_);
  stats_ = std::move(stats);
  ready_ = core.phase() == Core::Phase::kServing;
}

absl::Status Coordinator::WaitUntilReady(absl::Duration timeout) {
  const auto ready_or_ended = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return ready_ || ended_;
  };
  absl::MutexLock lock(&mutex_);
  mutex_.AwaitWithTimeout(absl::Condition(&ready_or_ended), timeout);
  if (ready_) return absl::OkStatus();
  if (!ended_) return absl::DeadlineExceededError("the cluster is not ready");
  return status_.ok() ? absl::CancelledError("the cluster was shut down") : status_;
}

void Coordinator::Drain() { (void)inbox_.TryPush(DrainOrder{}); }

void Coordinator::Stop() {
  (void)inbox_.TryPush(StopOrder{});
  if (loop_.joinable()) loop_.join();
  links_.store(nullptr);
}

absl::Status Coordinator::WaitUntilEnded() {
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(&ended_));
  return status_;
}

bool Coordinator::ended() const {
  absl::MutexLock lock(&mutex_);
  return ended_;
}

absl::Status Coordinator::Submit(flow::TokenRequest request,
                                 std::shared_ptr<flow::TokenSink> sink) {
  PAMIR_RETURN_IF_ERROR(admission_.Admit(request));
  const SeqId id = request.id;
  const int64_t tokens = static_cast<int64_t>(request.prompt.size());
  if (!inbox_.TryPush(Submitted{std::move(request), std::move(sink)})) {
    admission_.Withdraw(id, tokens);
    return absl::UnavailableError("the server is shutting down");
  }
  if (admission_.HandedOn(id)) (void)inbox_.TryPush(flow::Cancel{id});
  return absl::OkStatus();
}

void Coordinator::Cancel(SeqId id) {
  if (admission_.FirstCancel(id)) (void)inbox_.TryPush(flow::Cancel{id});
}

void Coordinator::Stop(SeqId id, int32_t choice, int32_t index) {
  if (admission_.FirstStop(id, choice)) (void)inbox_.TryPush(flow::Stop{id, choice, index});
}

flow::EngineStats Coordinator::Stats() const {
  absl::MutexLock lock(&mutex_);
  return stats_;
}

void Coordinator::OnJoin(wire::LinkId link, wire::Join join) {
  (void)inbox_.TryPush(Joined{link, std::move(join)});
}

void Coordinator::OnMessage(wire::LinkId link, wire::FromWorker message) {
  const bool wake = !CanWait(message);
  if (inbox_.TryPush(FromLink{link, std::move(message)}, wake, reserved_inputs_)) return;
  if (wire::Links* links = links_.load()) {
    links->Close(link, absl::ResourceExhaustedError("too many messages wait for the coordinator"));
  }
}

void Coordinator::OnGone(wire::LinkId link, absl::Status reason) {
  (void)inbox_.TryPush(LinkGone{link, std::move(reason)});
}

}  // namespace pamir::coordinator
