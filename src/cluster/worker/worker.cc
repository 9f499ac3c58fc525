#include "cluster/worker/worker.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/log.h"

namespace pamir::worker {
namespace {

constexpr absl::Duration kFlushTimeout = absl::Seconds(2);  // of the last messages

std::string MessageOf(const absl::Status& status) {
  return std::string(status.message().data(), status.message().size());
}

ConnectFn OverGrpc(const wire::ConnectOptions& options) {
  return [options](wire::CoordinatorLinkHandler* handler, std::function<bool()> stop_waiting) {
    wire::ConnectOptions with_stop = options;
    with_stop.stop_waiting = std::move(stop_waiting);
    return wire::ConnectToCoordinator(with_stop, handler);
  };
}

}  // namespace

Worker::Worker(const WorkerOptions& options, RankFactory factory)
    : Worker(options, std::move(factory), OverGrpc(options.connect)) {}

Worker::Worker(WorkerOptions options, RankFactory factory, ConnectFn connect)
    : options_(std::move(options)),
      connect_(std::move(connect)),
      engine_(
          std::move(factory), [this](const wire::FromWorker& message) { return Send(message); },
          options_.self.cores, options_.exchange_timeout) {}

absl::Status Worker::Run() {
  auto link = connect_(this, [this] { return stop_requested_.load(); });
  if (!link.ok()) return stop_requested_.load() ? absl::OkStatus() : link.status();
  link_ = *std::move(link);
  Send(options_.self);
  std::thread engine([this] { EngineMain(); });
  const absl::Status status = BeatUntilEnded();
  engine_.Abort(status.ok() ? absl::CancelledError("the worker ends") : status);
  engine_.Stop();
  WaitForEngine(status);
  engine.join();
  link_->Close(kFlushTimeout);
  return status;
}

void Worker::RequestStop() {
  stop_requested_.store(true);
  engine_.Stop();
}

bool Worker::Send(const wire::FromWorker& message) { return link_->Send(message); }

void Worker::EngineMain() {
  const absl::Status status = engine_.Run();
  // In this order: what the coordinator answers must not become the reason of the end.
  End(status);
  if (!status.ok()) {
    Send(wire::Failed{engine_.epoch(), status});
  } else if (stop_requested_.load()) {
    Send(wire::Drained{});
  }
  absl::MutexLock lock(&mutex_);
  engine_done_ = true;
}

absl::Status Worker::BeatUntilEnded() {
  wire::Heartbeat beat;
  absl::Time give_up = absl::InfiniteFuture();  // of a stop that the engine does not follow
  while (absl::Now() < give_up) {
    {
      absl::MutexLock lock(&mutex_);
      if (mutex_.AwaitWithTimeout(absl::Condition(&ended_), options_.heartbeat)) return status_;
    }
    ++beat.beats;
    beat.steps = engine_.steps();
    Send(beat);
    if (stop_requested_.load()) give_up = std::min(give_up, absl::Now() + options_.stop_grace);
  }
  return absl::OkStatus();
}

void Worker::WaitForEngine(const absl::Status& why) {
  {
    absl::MutexLock lock(&mutex_);
    if (mutex_.AwaitWithTimeout(absl::Condition(&engine_done_), options_.stop_grace)) return;
  }
  if (options_.on_stuck) options_.on_stuck(why);
}

void Worker::End(const absl::Status& why) {
  absl::MutexLock lock(&mutex_);
  if (std::exchange(ended_, true)) return;
  // Who was asked to stop ends well, whatever the coordinator makes of it.
  status_ = stop_requested_.load() ? absl::OkStatus() : why;
}

void Worker::OnMessage(wire::ToWorker message) {
  if (auto* plan = std::get_if<flow::StepPlan>(&message)) {
    PushWork(std::move(*plan));
  } else if (auto* load = std::get_if<wire::Load>(&message)) {
    PushWork(std::move(*load));
  } else if (std::holds_alternative<wire::Drain>(message)) {
    PushWork(wire::Drain{});
  } else if (auto* answer = std::get_if<wire::Exchanged>(&message)) {
    engine_.Answer(std::move(*answer));
  } else if (const auto* abort = std::get_if<wire::Abort>(&message)) {
    engine_.Abort(absl::AbortedError(abort->reason));
  } else if (const auto* shutdown = std::get_if<wire::Shutdown>(&message)) {
    End(shutdown->clean ? absl::OkStatus()
                        : absl::AbortedError(absl::StrCat("the coordinator ended the cluster: ",
                                                          shutdown->reason)));
  } else {
    Welcome(std::get<wire::Welcome>(message));
  }
}

void Worker::Welcome(const wire::Welcome& welcome) {
  SetLogComponent(absl::StrCat("worker ", welcome.rank));
  LogInfo(absl::StrCat("joined as rank ", welcome.rank, " of ", welcome.world_size));
}

void Worker::PushWork(EngineLoop::Work work) {
  if (engine_.Push(std::move(work))) return;
  End(absl::ResourceExhaustedError(
      absl::StrCat("more than ", kMaxQueuedWork, " steps wait for this rank")));
}

void Worker::OnGone(absl::Status reason) {
  if (reason.ok()) return End(absl::UnavailableError("the coordinator ended the connection"));
  // What says why it was refused stays as it is.
  if (!absl::IsUnavailable(reason) && !absl::IsCancelled(reason)) return End(reason);
  End(absl::UnavailableError(absl::StrCat("lost the coordinator: ", MessageOf(reason))));
}

absl::Status RunWorker(const WorkerOptions& options, RankFactory factory) {
  return Worker(options, std::move(factory)).Run();
}

}  // namespace pamir::worker
