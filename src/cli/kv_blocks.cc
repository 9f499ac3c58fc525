#include "cli/kv_blocks.h"

#include <algorithm>
#include <cstdio>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/units.h"

namespace pamir::cli {
namespace {

// Of a machine's memory, what the KV pools of all ranks together may take by default.
constexpr double kCpuShare = 0.25;
// On a GPU, for CUDA itself, the libraries' workspaces and the kernels' scratch.
constexpr int64_t kGpuReserve = kGiB;
constexpr int kMaxTensorParallel = 1024;

int64_t BlocksOfASequence(const spec::ShardPlan& plan) {
  return CeilDiv(plan.limits.max_model_len, plan.limits.block_size);
}

int64_t UsefulBlocks(const spec::ShardPlan& plan) {
  return BlocksOfASequence(plan) * plan.limits.max_num_seqs;
}

std::string Gib(int64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f GiB", static_cast<double>(bytes) / kGiB);
  return text;
}

// The least that a rank of so many may use.
int64_t RankMemory(const GpuBudget& budget, int ranks) {
  const auto gpus = static_cast<int>(budget.memory.size());
  int64_t least = std::numeric_limits<int64_t>::max();
  for (int gpu = 0; gpu < gpus; ++gpu) {
    const int ranks_here = budget.shared_out ? (ranks - gpu + gpus - 1) / gpus : 1;
    if (ranks_here > 0) least = std::min(least, budget.memory[gpu] / ranks_here);
  }
  return static_cast<int64_t>(budget.utilization * static_cast<double>(least));
}

// Of the rank that has the least room.
struct Room {
  int64_t blocks = 0;
  int64_t missing = 0;  // bytes, for one sequence
  spec::RankBytes bytes;
  int64_t block_bytes = 0;
  int64_t memory = 0;
};

Room TightestRoom(const spec::ModelSpec& model, const spec::ShardPlan& plan,
                  const GpuBudget& budget) {
  Room tightest;
  for (int rank = 0; rank < plan.ranks(); ++rank) {
    Room room;
    room.bytes = spec::BytesOfRank(model, plan, rank);
    room.block_bytes = spec::KvBytesPerBlock(model, plan, rank);
    room.memory = RankMemory(budget, plan.ranks());
    const int64_t left = room.memory - room.bytes.weights - room.bytes.buffers - kGpuReserve;
    room.blocks = std::max<int64_t>(0, left / room.block_bytes - spec::kCudaSpareBlocks);
    room.missing = (BlocksOfASequence(plan) + spec::kCudaSpareBlocks) * room.block_bytes - left;
    const bool tighter = room.blocks < tightest.blocks ||
                         (room.blocks == tightest.blocks && room.missing > tightest.missing);
    if (rank == 0 || tighter) tightest = room;
  }
  return tightest;
}

// The smallest number of tensor-parallel ranks above the plan's with which a sequence fits, or 0.
int TensorParallelThatFits(const spec::ModelSpec& model, const spec::ShardPlan& plan,
                           const GpuBudget& budget) {
  const auto now = static_cast<int>(plan.stages.front().shards.size());
  for (int tp = now + 1; tp <= std::min<int64_t>(model.heads, kMaxTensorParallel); ++tp) {
    if (budget.shared_out && tp * plan.pipeline() > static_cast<int>(budget.memory.size())) break;
    absl::StatusOr<spec::ShardPlan> other = spec::EvenShardPlan(model, tp, plan.pipeline());
    if (!other.ok()) continue;
    spec::SetDevice(plan.device, plan.weight_dtype, &*other);
    other->kv_fp8 = plan.kv_fp8;
    other->relu_skip = plan.relu_skip;
    other->limits = plan.limits;
    if (TightestRoom(model, *other, budget).blocks >= BlocksOfASequence(plan)) return tp;
  }
  return 0;
}

std::string WhatWouldFit(const spec::ModelSpec& model, const spec::ShardPlan& plan,
                         const GpuBudget& budget, const Room& room) {
  std::string ways;
  const int tp = TensorParallelThatFits(model, plan, budget);
  if (tp > 0) {
    absl::StrAppend(&ways, "--tp ", tp);
    if (plan.pipeline() > 1) absl::StrAppend(&ways, " (with --pp ", plan.pipeline(), ")");
  }
  if (room.blocks > 0) {
    absl::StrAppend(&ways, ways.empty() ? "" : ", or ", "--max-model-len ",
                    room.blocks * plan.limits.block_size);
  }
  if (!ways.empty()) return absl::StrCat("; it would fit with ", ways);
  return budget.shared_out ? "; it needs more or larger GPUs than this machine shows"
                           : "; it needs larger GPUs, or more stages (--pp)";
}

absl::Status DoesNotFit(const spec::ModelSpec& model, const spec::ShardPlan& plan,
                        const GpuBudget& budget, const Room& room) {
  return absl::ResourceExhaustedError(absl::StrCat(
      model.name, " in ", Name(plan.weight_dtype), " on ", plan.ranks(),
      plan.ranks() == 1 ? " rank" : " ranks", " does not fit: a rank may use ", Gib(room.memory),
      " of its GPU, but needs ", Gib(room.bytes.weights), " for weights, ",
      Gib(room.bytes.buffers + kGpuReserve), " to compute in and ",
      Gib(BlocksOfASequence(plan) * room.block_bytes), " for the KV cache of one sequence of ",
      plan.limits.max_model_len, " tokens: ", Gib(room.missing), " are missing",
      WhatWouldFit(model, plan, budget, room)));
}

}  // namespace

int64_t CpuKvBlocks(const spec::ModelSpec& model, const spec::ShardPlan& plan, int64_t memory) {
  int64_t bytes_per_block = 0;
  for (int rank = 0; rank < plan.ranks(); ++rank) {
    bytes_per_block += spec::KvBytesPerBlock(model, plan, rank);
  }
  const int64_t affordable = static_cast<int64_t>(kCpuShare * static_cast<double>(memory)) /
                             std::max<int64_t>(1, bytes_per_block);
  return std::max(BlocksOfASequence(plan), std::min(affordable, UsefulBlocks(plan)));
}

absl::StatusOr<int64_t> CudaKvBlocks(const spec::ModelSpec& model, const spec::ShardPlan& plan,
                                     const GpuBudget& budget) {
  const Room room = TightestRoom(model, plan, budget);
  if (room.blocks < BlocksOfASequence(plan)) return DoesNotFit(model, plan, budget, room);
  return std::min(room.blocks, UsefulBlocks(plan));
}

}  // namespace pamir::cli
