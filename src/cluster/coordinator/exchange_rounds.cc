#include "cluster/coordinator/exchange_rounds.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace pamir::coordinator {

absl::StatusOr<std::optional<wire::Exchanged>> ExchangeRounds::Add(int rank,
                                                                   wire::ExchangeBlob blob,
                                                                   absl::Time now) {
  if (blob.round != round_ || blobs_[rank].has_value()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "it came to exchange ", blob.round, " out of turn; exchange ", round_, " is going on"));
  }
  if (arrived_++ == 0) since_ = now;
  blobs_[rank] = std::move(blob.blob);
  if (arrived_ < static_cast<int>(blobs_.size())) return std::nullopt;
  wire::Exchanged answer{.epoch = blob.epoch, .round = round_, .blobs = {}};
  for (auto& one : blobs_) answer.blobs.push_back(*std::exchange(one, std::nullopt));
  ++round_;
  arrived_ = 0;
  since_ = absl::InfiniteFuture();
  return answer;
}

std::vector<int> ExchangeRounds::Missing() const {
  std::vector<int> missing;
  if (arrived_ == 0) return missing;
  for (size_t rank = 0; rank < blobs_.size(); ++rank) {
    if (!blobs_[rank].has_value()) missing.push_back(static_cast<int>(rank));
  }
  return missing;
}

}  // namespace pamir::coordinator
