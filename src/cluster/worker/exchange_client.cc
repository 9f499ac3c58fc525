#include "cluster/worker/exchange_client.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace pamir::worker {

ExchangeClient::ExchangeClient(SendFn send, absl::Duration timeout)
    : send_(std::move(send)), timeout_(timeout) {}

void ExchangeClient::BeginEpoch(Epoch epoch) {
  absl::MutexLock lock(&mutex_);
  epoch_ = epoch;
  round_ = 0;
  answer_.reset();
}

absl::StatusOr<std::vector<std::string>> ExchangeClient::Exchange(const std::string& mine) {
  if (mine.size() > wire::kMaxExchangeBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "an exchange carries at most ", wire::kMaxExchangeBytes, " bytes, not ", mine.size()));
  }
  wire::ExchangeBlob blob{.epoch = Epoch(), .round = 0, .blob = mine};
  {
    absl::MutexLock lock(&mutex_);
    if (!dead_.ok()) return dead_;
    if (round_ >= wire::kMaxExchangeRounds) {
      return absl::InternalError(
          absl::StrCat("more than ", wire::kMaxExchangeRounds, " exchanges in one epoch"));
    }
    blob.epoch = epoch_;
    blob.round = round_;
  }
  if (!send_(blob)) return absl::UnavailableError("the coordinator is gone");
  absl::MutexLock lock(&mutex_);
  mutex_.AwaitWithTimeout(absl::Condition(this, &ExchangeClient::AnsweredOrDead), timeout_);
  if (!dead_.ok()) return dead_;
  if (!answer_) {
    return absl::DeadlineExceededError(absl::StrCat(
        "exchange ", round_, " was not answered within ", absl::FormatDuration(timeout_)));
  }
  ++round_;
  std::vector<std::string> blobs = std::move(answer_->blobs);
  answer_.reset();
  return blobs;
}

void ExchangeClient::Answer(wire::Exchanged answer) {
  absl::MutexLock lock(&mutex_);
  if (answer.epoch == epoch_ && answer.round == round_) answer_ = std::move(answer);
}

void ExchangeClient::Abort(const absl::Status& why) {
  absl::MutexLock lock(&mutex_);
  if (dead_.ok()) dead_ = why;
}

}  // namespace pamir::worker
