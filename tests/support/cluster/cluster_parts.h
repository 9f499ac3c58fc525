// Parts of a cluster without a model: what to load, ranks, receivers of tokens.
#ifndef PAMIR_TESTS_SUPPORT_CLUSTER_CLUSTER_PARTS_H_
#define PAMIR_TESTS_SUPPORT_CLUSTER_CLUSTER_PARTS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "cluster/coordinator/options.h"
#include "cluster/wire/messages.h"
#include "cluster/worker/rank_factory.h"
#include "core/flow/ports.h"
#include "support/fake_rank.h"

namespace pamir::testing {

inline constexpr int32_t kFakeVocab = 1000;

// A model of 4 layers and 4 heads over tp x pp ranks; 64 blocks of 16 tokens, 8 slots.
flow::LoadRequest FakeLoad(int tp, int pp);
coordinator::CoordinatorOptions FakeCoordinatorOptions(int tp, int pp);
wire::Join FakeJoin(const std::string& host = "host-a", int64_t pid = 1);
std::unique_ptr<flow::Rank> MakeFakeRank(const flow::LoadRequest& request);

// What the ranks of a test do beside being fake.
struct RankScript {
  // In the factory, before two exchanges.
  std::function<absl::Status(const flow::LoadRequest&, const worker::RankHooks&)> load;
  // Before each step; an error kills the rank.
  std::function<absl::Status(int rank, const flow::StepPlan&)> step;
};

// Ranks that exchange twice (checked), report, and step as FakeRank does.
worker::RankFactory FakeFactory(RankScript script = {});

// `max_tokens` tokens behind a prompt, which ends early only at the end token if not ignored.
flow::TokenRequest FakeRequest(uint64_t id, std::vector<TokenId> prompt, int32_t max_tokens);
// What such a request gives when it is alone.
std::vector<TokenId> StreamAlone(const flow::TokenRequest& request);

// Keeps what it is told. Thread-safe.
class CollectingSink final : public flow::TokenSink {
 public:
  void OnToken(flow::TokenEvent event) override;

  // The last event; its finish is kNone where none came in time.
  flow::TokenEvent WaitUntilDone(absl::Duration timeout = absl::Seconds(20));
  bool WaitForTokens(size_t count, absl::Duration timeout = absl::Seconds(20));
  std::vector<TokenId> tokens() const;
  int finishes() const;

 private:
  mutable absl::Mutex mutex_;
  std::vector<TokenId> tokens_ ABSL_GUARDED_BY(mutex_);
  flow::TokenEvent last_ ABSL_GUARDED_BY(mutex_);
  int finishes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace pamir::testing

#endif  // PAMIR_TESTS_SUPPORT_CLUSTER_CLUSTER_PARTS_H_
