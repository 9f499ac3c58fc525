// Collects one blob of every rank, round by round. Plain state; the loop's thread.
#ifndef PAMIR_CLUSTER_COORDINATOR_EXCHANGE_ROUNDS_H_
#define PAMIR_CLUSTER_COORDINATOR_EXCHANGE_ROUNDS_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cluster/wire/messages.h"

namespace pamir::coordinator {

class ExchangeRounds {
 public:
  explicit ExchangeRounds(int world_size) : blobs_(world_size) {}

  // The answer for all, once the last rank has come. INVALID_ARGUMENT: not this round, or twice.
  absl::StatusOr<std::optional<wire::Exchanged>> Add(int rank, wire::ExchangeBlob blob,
                                                     absl::Time now);

  // Somebody waits for these ranks; empty: nobody waits.
  std::vector<int> Missing() const;
  absl::Time waiting_since() const { return since_; }
  uint32_t round() const { return round_; }

 private:
  uint32_t round_ = 0;
  int arrived_ = 0;
  absl::Time since_ = absl::InfiniteFuture();  // of the round's first blob
  std::vector<std::optional<std::string>> blobs_;
};

}  // namespace pamir::coordinator

#endif  // PAMIR_CLUSTER_COORDINATOR_EXCHANGE_ROUNDS_H_
