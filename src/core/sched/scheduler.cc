#include "core/sched/scheduler.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace pamir::sched {
namespace {

template <typename... Fs>
struct Overloaded : Fs... {
  using Fs::operator()...;
};
template <typename... Fs>
Overloaded(Fs...) -> Overloaded<Fs...>;

const SchedulerOptions& Checked(const SchedulerOptions& options) {
  const absl::Status status = CheckOptions(options);
  PAMIR_CHECK(status.ok(), std::string(status.message()));
  return options;
}

// Nothing to compute: no token is wanted, and no prompt token has one before it to be scored by.
bool FinishesAtOnce(const flow::TokenRequest& request) {
  return request.max_tokens == 0 && (!request.prompt_logprobs || request.prompt.size() == 1);
}

}  // namespace

Scheduler::Scheduler(const SchedulerOptions& options)
    : options_(Checked(options)),
      context_limit_(ContextLimit(options)),
      // No more than the tokens of a step, so that every running sequence gets at least one.
      max_running_(std::min(options.max_num_seqs, options.max_num_batched_tokens)),
      blocks_(options.num_blocks, options.block_size),
      slots_(max_running_, nullptr) {
  for (int32_t s = max_running_ - 1; s >= 0; --s) free_slots_.push_back(SlotId(s));
  running_.reserve(max_running_);
}

absl::Status Scheduler::CheckRequest(const flow::TokenRequest& request) const {
  if (ledger_.Contains(request.id)) {
    return absl::AlreadyExistsError(absl::StrCat("request id ", request.id.value, " is in use"));
  }
  return CheckFits(request, options_);
}

absl::Status CheckFits(const flow::TokenRequest& request, const SchedulerOptions& options) {
  if (request.prompt.empty()) {
    return absl::InvalidArgumentError("prompt is empty; it must hold at least one token");
  }
  if (request.max_tokens < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_tokens is ", request.max_tokens, "; it must not be negative"));
  }
  // The last id of a prompt that is only scored is never fed.
  const int64_t length = static_cast<int64_t>(request.prompt.size());
  const int64_t needed = request.max_tokens == 0 ? length - 1 : length + 1;
  const int32_t limit = ContextLimit(options);
  if (needed <= limit) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "prompt has ", length, " tokens; the context is ", limit,
      request.max_tokens == 0 ? "" : ", and at least one token of it must be left to generate",
      limit < options.max_model_len
          ? absl::StrCat(" (what the KV cache holds; the model's is ", options.max_model_len, ")")
          : std::string()));
}

absl::Status Scheduler::CheckQueue(const flow::TokenRequest& request) const {
  if (static_cast<int64_t>(waiting_.size()) >= options_.max_waiting) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the queue is full: ", waiting_.size(), " requests wait; try again later"));
  }
  const int64_t tokens = waiting_tokens_ + static_cast<int64_t>(request.prompt.size());
  if (!waiting_.empty() && tokens > options_.max_waiting_tokens) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the queue is full: ", waiting_tokens_, " tokens wait, and this prompt of ",
                     request.prompt.size(), " would pass the limit of ",
                     options_.max_waiting_tokens, "; try again later"));
  }
  return absl::OkStatus();
}

absl::Status Scheduler::Arrive(flow::TokenRequest request) {
  PAMIR_RETURN_IF_ERROR(CheckRequest(request));
  if (!FinishesAtOnce(request)) PAMIR_RETURN_IF_ERROR(CheckQueue(request));
  const bool at_once = FinishesAtOnce(request);
  Sequence* sequence = ledger_.Add(std::move(request), context_limit_, arrivals_++);
  PushWaiting(sequence, /*front=*/false);
  if (at_once) Finish(sequence, {.finish = FinishReason::kLength});
  return absl::OkStatus();
}

absl::Status Scheduler::Apply(flow::Event event) {
  return std::visit(Overloaded{
                        [this](flow::Arrive& e) { return Arrive(std::move(e.request)); },
                        [this](flow::StepDone& e) { return OnStepDone(e.result); },
                        [this](flow::Cancel& e) {
                          Sequence* s = ledger_.Find(e.id);
                          if (s != nullptr) FinishCancelled(s, "cancelled by the client", false);
                          return absl::OkStatus();
                        },
                        [this](flow::Stop& e) {
                          OnStop(e);
                          return absl::OkStatus();
                        },
                        [this](flow::Tick& e) {
                          OnTick(e.now);
                          return absl::OkStatus();
                        },
                        [this](flow::WorkerLost&) {
                          ready_ = false;
                          SendRunningBackToQueue();
                          return absl::OkStatus();
                        },
                        [this](flow::WorkerReady& e) {
                          OnWorkerReady(e.epoch);
                          return absl::OkStatus();
                        },
                    },
                    event);
}

void Scheduler::OnStop(const flow::Stop& stop) {
  Sequence* sequence = ledger_.Find(stop.id);
  if (sequence == nullptr || stop.choice != 0) return;
  // Compared without index + 1, which could overflow.
  const int32_t kept =
      stop.index >= sequence->emitted() ? sequence->emitted() : std::max(0, stop.index + 1);
  Finish(sequence, {.index = kept, .finish = FinishReason::kStop});
}

void Scheduler::OnTick(absl::Time now) {
  std::vector<Sequence*> late;
  for (Sequence* s : running_) {
    if (s->deadline <= now) late.push_back(s);
  }
  for (Sequence* s : waiting_) {
    if (s->deadline <= now) late.push_back(s);
  }
  for (Sequence* s : late) {
    FinishCancelled(s, absl::StrCat("the deadline passed after ", s->emitted(), " tokens"), true);
  }
}

void Scheduler::OnWorkerReady(Epoch epoch) {
  if (epoch <= epoch_) return;
  SendRunningBackToQueue();
  epoch_ = epoch;
  step_ = StepId(0);
  ready_ = true;
}

// The ranks' state is gone, so there is nothing to release there, and no result will be waited for.
void Scheduler::SendRunningBackToQueue() {
  while (!running_.empty()) {
    Sequence* last = running_.back();
    GiveUpSlot(last);
    PushWaiting(last, /*front=*/true);
  }
  releases_.clear();
  in_flight_.clear();
}

void Scheduler::PushWaiting(Sequence* sequence, bool front) {
  waiting_tokens_ += sequence->length();
  if (front) {
    waiting_.push_front(sequence);
  } else {
    waiting_.push_back(sequence);
  }
}

void Scheduler::Unqueue(Sequence* sequence) {
  waiting_tokens_ -= sequence->length();
  waiting_.erase(std::find(waiting_.begin(), waiting_.end(), sequence));
}

// Blocks and slot are free at once: whoever gets them next is in a later plan, behind the release.
void Scheduler::GiveUpSlot(Sequence* sequence) {
  running_.erase(std::find(running_.begin(), running_.end(), sequence));
  blocks_.Return(&sequence->blocks);
  slots_[sequence->slot.value] = nullptr;
  free_slots_.push_back(sequence->slot);
  releases_.push_back(sequence->slot);
  sequence->slot = SlotId(-1);
  sequence->computed = sequence->pending = 0;
  if (sequence->scoring()) sequence->prompt_logprobs.clear();
}

void Scheduler::Finish(Sequence* sequence, flow::TokenEvent last) {
  last.id = sequence->id;
  if (sequence->score && last.finish != FinishReason::kCancelled) {
    last.prompt_logprobs = std::move(sequence->prompt_logprobs);
  }
  events_.push_back(std::move(last));
  if (sequence->running()) {
    GiveUpSlot(sequence);
  } else {
    Unqueue(sequence);
  }
  ++finished_;
  ledger_.Remove(sequence->id);
}

void Scheduler::FinishCancelled(Sequence* sequence, const std::string& why,
                                bool deadline_exceeded) {
  Finish(sequence, {.index = sequence->emitted(),
                    .finish = FinishReason::kCancelled,
                    .error = why,
                    .deadline_exceeded = deadline_exceeded});
}

std::vector<flow::TokenEvent> Scheduler::TakeEvents() { return std::exchange(events_, {}); }

SchedulerStats Scheduler::Stats() const {
  return {.ready = ready_,
          .in_flight = !in_flight_.empty(),
          .epoch = epoch_,
          .steps = steps_,
          .running = static_cast<int32_t>(running_.size()),
          .waiting = static_cast<int32_t>(waiting_.size()),
          .max_running = max_running_,
          .max_waiting = options_.max_waiting,
          .waiting_tokens = waiting_tokens_,
          .blocks_total = blocks_.total(),
          .blocks_free = blocks_.free(),
          .block_size = options_.block_size,
          .requests_accepted = arrivals_,
          .requests_finished = finished_,
          .tokens_generated = tokens_,
          .preemptions = preemptions_};
}

}  // namespace pamir::sched
