#include "support/cluster/cluster_parts.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace pamir::testing {
namespace {

constexpr char kBuild[] = "test-build";

// Each round's answer must hold what every rank said in this round.
absl::Status ExchangeTwice(const flow::LoadRequest& request, const worker::RankHooks& hooks) {
  for (int round = 0; round < 2; ++round) {
    const auto said = [round](int rank) { return absl::StrCat("round ", round, " rank ", rank); };
    PAMIR_ASSIGN_OR_RETURN(const std::vector<std::string> all, hooks.exchange(said(request.rank)));
    if (static_cast<int>(all.size()) != request.plan.ranks()) {
      return absl::InternalError(absl::StrCat("an exchange gave ", all.size(), " blobs"));
    }
    for (int rank = 0; rank < request.plan.ranks(); ++rank) {
      if (all[rank] != said(rank)) return absl::InternalError("an exchange mixed up the ranks");
    }
  }
  return absl::OkStatus();
}

class ScriptedRank final : public flow::Rank {
 public:
  ScriptedRank(int rank, std::unique_ptr<flow::Rank> inner, RankScript script)
      : rank_(rank), inner_(std::move(inner)), script_(std::move(script)) {}
  absl::StatusOr<flow::StepResult> Step(const flow::StepPlan& plan) override {
    if (script_.step) PAMIR_RETURN_IF_ERROR(script_.step(rank_, plan));
    return inner_->Step(plan);
  }

 private:
  const int rank_;
  const std::unique_ptr<flow::Rank> inner_;
  const RankScript script_;
};

}  // namespace

flow::LoadRequest FakeLoad(int tp, int pp) {
  flow::LoadRequest load;
  load.model = {.name = "fake",
                .layers = 4,
                .hidden = 64,
                .heads = 4,
                .ffn = 128,
                .vocab = kFakeVocab,
                .positions = 2048,
                .embed = 64};
  auto plan = spec::EvenShardPlan(load.model, tp, pp);
  PAMIR_CHECK(plan.ok(), plan.status().ToString());
  load.plan = *std::move(plan);
  load.plan.limits = {.block_size = 16,
                      .num_blocks = 64,
                      .max_num_seqs = 8,
                      .max_num_batched_tokens = 256,
                      .max_model_len = 512,
                      .text_vocab = kFakeVocab};
  load.format = flow::LoadFormat::kDummy;
  return load;
}

coordinator::CoordinatorOptions FakeCoordinatorOptions(int tp, int pp) {
  coordinator::CoordinatorOptions options;
  options.load = FakeLoad(tp, pp);
  options.build_id = kBuild;
  return options;
}

wire::Join FakeJoin(const std::string& host, int64_t pid) {
  return {.build_id = kBuild,
          .host_name = host,
          .device = "cpu",
          .pid = pid,
          .cores = 2,
          .token = "",
          .memory_bytes = 1 << 30};
}

std::unique_ptr<flow::Rank> MakeFakeRank(const flow::LoadRequest& request) {
  const spec::EngineLimits& limits = request.plan.limits;
  return std::make_unique<FakeRank>(
      FakeRankOptions{.block_size = limits.block_size,
                      .num_blocks = limits.num_blocks,
                      .max_num_seqs = limits.max_num_seqs,
                      .max_num_batched_tokens = limits.max_num_batched_tokens,
                      .vocab_size = kFakeVocab});
}

worker::RankFactory FakeFactory(RankScript script) {
  return [script](const flow::LoadRequest& request,
                  const worker::RankHooks& hooks) -> absl::StatusOr<std::unique_ptr<flow::Rank>> {
    if (script.load) PAMIR_RETURN_IF_ERROR(script.load(request, hooks));
    PAMIR_RETURN_IF_ERROR(ExchangeTwice(request, hooks));
    hooks.progress(100, 100);
    hooks.report({.weight_bytes = 1000 + request.rank, .kv_bytes = 77, .transport = "fake"});
    return std::make_unique<ScriptedRank>(request.rank, MakeFakeRank(request), script);
  };
}

flow::TokenRequest FakeRequest(uint64_t id, std::vector<TokenId> prompt, int32_t max_tokens) {
  flow::TokenRequest request;
  request.id = SeqId(id);
  request.prompt = std::move(prompt);
  request.sampling.seed = id * 7919;
  request.max_tokens = max_tokens;
  request.ignore_eos = true;
  return request;
}

std::vector<TokenId> StreamAlone(const flow::TokenRequest& request) {
  return FakeStream(request.prompt, request.sampling.seed, kFakeVocab, request.max_tokens);
}

void CollectingSink::OnToken(flow::TokenEvent event) {
  absl::MutexLock lock(&mutex_);
  if (event.has_token) tokens_.push_back(event.token);
  if (event.finish != FinishReason::kNone) ++finishes_;
  last_ = std::move(event);
}

flow::TokenEvent CollectingSink::WaitUntilDone(absl::Duration timeout) {
  absl::MutexLock lock(&mutex_);
  const auto done = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return finishes_ > 0; };
  mutex_.AwaitWithTimeout(absl::Condition(&done), timeout);
  return finishes_ > 0 ? last_ : flow::TokenEvent();
}

bool CollectingSink::WaitForTokens(size_t count, absl::Duration timeout) {
  absl::MutexLock lock(&mutex_);
  const auto enough = [this, count]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return tokens_.size() >= count || finishes_ > 0;
  };
  mutex_.AwaitWithTimeout(absl::Condition(&enough), timeout);
  return tokens_.size() >= count;
}

std::vector<TokenId> CollectingSink::tokens() const {
  absl::MutexLock lock(&mutex_);
  return tokens_;
}

int CollectingSink::finishes() const {
  absl::MutexLock lock(&mutex_);
  return finishes_;
}

}  // namespace pamir::testing
