#include "unit/model/thread_ranks.h"

#include <thread>

#include "base/units.h"
#include "engine/comm/staged.h"
#include "engine/model/cuda_rank.h"
#include "engine/model/opt_rank.h"
#include "engine/model/step_buffers.h"
#include "gtest/gtest.h"

namespace pamir::testing {

std::vector<comm::Groups> ThreadGroups(const spec::ShardPlan& plan) {
  std::vector<comm::Groups> groups(plan.ranks());
  auto world = comm::ThreadGroup(plan.ranks(), absl::Seconds(20));
  for (int rank = 0; rank < plan.ranks(); ++rank) groups[rank].world = std::move(world[rank]);
  for (int stage = 0; stage < plan.pipeline(); ++stage) {
    const int width = static_cast<int>(plan.stages[stage].shards.size());
    auto members = comm::ThreadGroup(width, absl::Seconds(20));
    for (int i = 0; i < width; ++i) {
      groups[spec::RankAt(plan, stage, i)].stage = std::move(members[i]);
    }
  }
  return groups;
}

ThreadRanks::ThreadRanks(const spec::ModelSpec& model, const spec::ShardPlan& plan,
                         const weights::TensorSource& source, int threads)
    : plan_(plan) {
  std::vector<comm::Groups> groups = ThreadGroups(plan);
  for (int rank = 0; rank < plan.ranks(); ++rank) {
    auto loaded = weights::LoadRankWeights(model, plan, rank, source, 1, nullptr);
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    auto made = model::MakeOptRank({.model = model, .plan = plan, .rank = rank, .threads = threads},
                                   std::move(loaded).value(), std::move(groups[rank]), nullptr);
    EXPECT_TRUE(made.ok()) << made.status();
    ranks_.push_back(std::move(made).value());
  }
}

ThreadRanks::ThreadRanks(const spec::ModelSpec& model, const spec::ShardPlan& plan,
                         const weights::TensorSource& source, const kernels::CudaApi* api,
                         bool graphs)
    : plan_(plan) {
  std::vector<comm::Groups> hosts = ThreadGroups(plan), under = ThreadGroups(plan);
  for (int rank = 0; rank < plan.ranks(); ++rank) {
    model::CudaRankParts parts;
    parts.device = device::CudaDevice::OpenWith(api, 0).value();
    if (plan.ranks() > 1) {
      const auto staged = [&](std::shared_ptr<comm::Communicator>& host) {
        return comm::MakeStagedCommunicator(std::move(host), *parts.device,
                                            model::MaxMessageBytes(model, plan))
            .value();
      };
      parts.groups.stage = staged(under[rank].stage);
      parts.groups.world = staged(under[rank].world);
      parts.host_world = hosts[rank].world;
    }
    auto loaded = weights::LoadCudaWeights(model, plan, rank, source, 1, nullptr, *parts.device);
    EXPECT_TRUE(loaded.ok()) << loaded.status();
    parts.weights = std::move(loaded).value();
    model::CudaRankSizes sizes;
    auto made = model::MakeCudaRank({.model = model, .plan = plan, .rank = rank, .graphs = graphs},
                                    std::move(parts), &sizes);
    EXPECT_TRUE(made.ok()) << made.status();
    ranks_.push_back(std::move(made).value());
  }
}

flow::StepResult ThreadRanks::Step(const flow::StepPlan& plan) {
  std::vector<absl::StatusOr<flow::StepResult>> results(ranks_.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < ranks_.size(); ++i) {
    threads.emplace_back([&, i] { results[i] = ranks_[i]->Step(plan); });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < results.size(); ++i) {
    EXPECT_TRUE(results[i].ok()) << "rank " << i << ": " << results[i].status();
  }
  return results[spec::RankAt(plan_, plan_.pipeline() - 1, 0)].value_or(flow::StepResult{});
}

spec::ShardPlan SmallPlan(const spec::ModelSpec& model, int tp, int pp) {
  spec::ShardPlan plan = spec::EvenShardPlan(model, tp, pp).value();
  plan.limits = {.block_size = 16,
                 .num_blocks = 64,
                 .max_num_seqs = 8,
                 .max_num_batched_tokens = 256,
                 .max_model_len = static_cast<int32_t>(std::min<int64_t>(model.positions, 512)),
                 .text_vocab = static_cast<int32_t>(model.vocab)};
  return plan;
}

spec::ShardPlan SmallCudaPlan(const spec::ModelSpec& model, int tp, int pp, DType type) {
  spec::ShardPlan plan = SmallPlan(model, tp, pp);
  spec::SetDevice(spec::DeviceKind::kCuda, type, &plan);
  return plan;
}

}  // namespace pamir::testing
