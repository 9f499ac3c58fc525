#include "engine/model/opt_rank.h"

#include <chrono>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/thread_pool.h"
#include "core/flow/step_inputs.h"
#include "engine/model/head.h"
#include "engine/model/layers.h"
#include "engine/model/sampled_ids.h"
#include "engine/model/slots.h"
#include "engine/model/step_buffers.h"

namespace pamir::model {
namespace {

kernels::RowsView ViewOf(const flow::StepInputs& inputs) {
  return {.tokens = static_cast<int64_t>(inputs.positions.size()),
          .rows = static_cast<int64_t>(inputs.row_start.size()) - 1,
          .positions = inputs.positions.data(),
          .row_start = inputs.row_start.data(),
          .block_table = inputs.block_table.data(),
          .max_blocks = inputs.max_blocks};
}

class OptRank final : public flow::Rank {
 public:
  OptRank(const OptRankOptions& options, weights::RankWeights weights, comm::Groups groups,
          StepBuffers buffers, KvPool kv)
      : options_(options),
        place_(spec::PlaceOfRank(options_.plan, options_.rank)),
        stage_(options_.plan.stages[place_.stage]),
        shard_(stage_.shards[place_.tensor_index]),
        pool_(options.threads),
        weights_(std::move(weights)),
        groups_(std::move(groups)),
        buffers_(std::move(buffers)),
        kv_(std::move(kv)),
        slots_(options.plan.limits, options.model.vocab),
        sampled_ids_(options_.plan, options_.rank, groups_.world.get(), &slots_) {
    context_.kernel = {.backend = Backend::kCpu, .pool = &pool_};
    context_.model = &options_.model;
    context_.weights = &weights_;
    context_.buffers = &buffers_;
    context_.kv = &kv_;
    context_.stage = stage_.shards.size() > 1 ? groups_.stage.get() : nullptr;
    context_.first_layer = stage_.layers.begin;
    context_.ffn_observer = &options_.ffn_observer;
  }

  absl::StatusOr<flow::StepResult> Step(const flow::StepPlan& plan) override;

 private:
  bool first_stage() const { return place_.stage == 0; }
  bool last_stage() const { return place_.stage + 1 == options_.plan.pipeline(); }

  absl::Status Run(const flow::StepPlan& plan, flow::StepResult* result);
  absl::StatusOr<flow::StepInputs> BuildInputs(const flow::StepPlan& plan);
  absl::Status FillIds(const flow::Row& row, int32_t* ids);
  absl::Status ReceiveHidden(int64_t tokens);
  absl::Status SendHidden(int64_t tokens);
  absl::Status ShareSampledIds(const flow::StepPlan& plan, const flow::StepResult& result);

  const OptRankOptions options_;
  const spec::RankPlace place_;
  const spec::StagePlan& stage_;
  const spec::TensorShard& shard_;
  ThreadPool pool_;
  weights::RankWeights weights_;
  comm::Groups groups_;
  StepBuffers buffers_;
  KvPool kv_;
  SlotTable slots_;
  SampledIds sampled_ids_;
  LayerContext context_;
  absl::Status dead_;
};

absl::StatusOr<flow::StepResult> OptRank::Step(const flow::StepPlan& plan) {
  if (!dead_.ok()) return dead_;
  const auto began = std::chrono::steady_clock::now();
  flow::StepResult result{.epoch = plan.epoch, .step = plan.step};
  dead_ = Run(plan, &result);
  if (!dead_.ok()) return dead_;
  result.engine_us = std::chrono::duration_cast<std::chrono::microseconds>(
                         std::chrono::steady_clock::now() - began)
                         .count();
  return result;
}

absl::Status OptRank::Run(const flow::StepPlan& plan, flow::StepResult* result) {
  PAMIR_RETURN_IF_ERROR(sampled_ids_.TakeBefore(plan));
  PAMIR_RETURN_IF_ERROR(slots_.Apply(plan));
  for (const flow::BlockCopy& copy : plan.block_copies) {
    for (const kernels::KvLayer& layer : kv_.layers) {
      kernels::CopyKvBlock(layer, copy.from.value, copy.to.value);
    }
  }
  if (plan.rows.empty()) return absl::OkStatus();
  PAMIR_ASSIGN_OR_RETURN(const flow::StepInputs inputs, BuildInputs(plan));
  const kernels::RowsView rows = ViewOf(inputs);
  if (first_stage()) {
    PAMIR_RETURN_IF_ERROR(Embed(context_, rows, shard_.vocab.begin));
  } else {
    PAMIR_RETURN_IF_ERROR(ReceiveHidden(rows.tokens));
  }
  PAMIR_RETURN_IF_ERROR(RunLayers(context_, rows));
  if (!last_stage()) {
    PAMIR_RETURN_IF_ERROR(SendHidden(rows.tokens));
  } else {
    const HeadContext head{.layers = &context_,
                           .plan = &options_.plan,
                           .stage = &stage_,
                           .tensor_index = place_.tensor_index,
                           .slots = &slots_};
    PAMIR_RETURN_IF_ERROR(RunHead(head, plan, rows, result));
  }
  return ShareSampledIds(plan, *result);
}

absl::StatusOr<flow::StepInputs> OptRank::BuildInputs(const flow::StepPlan& plan) {
  const spec::EngineLimits& limits = options_.plan.limits;
  const size_t max_blocks = CeilDiv(limits.max_model_len, limits.block_size);
  size_t tokens = 0, rows = 0;
  int32_t samples = 0;
  for (const flow::Row& row : plan.rows) {
    PAMIR_RETURN_IF_ERROR(slots_.CheckRow(row));
    if (tokens + row.count > static_cast<size_t>(limits.max_num_batched_tokens)) {
      return absl::InternalError("plan: more tokens in a step than the limit");
    }
    if (row.wants == flow::RowWants::kSample && ++samples > limits.max_num_seqs) {
      return absl::InternalError(
          absl::StrCat("plan: more samples in a step than the ", limits.max_num_seqs, " slots"));
    }
    if (first_stage()) PAMIR_RETURN_IF_ERROR(FillIds(row, buffers_.ids + tokens));
    for (int32_t i = 0; i < row.count; ++i) buffers_.positions[tokens + i] = row.from + i;
    const std::vector<int32_t>& blocks = slots_.at(row.slot).blocks;
    std::memcpy(buffers_.block_table + rows * max_blocks, blocks.data(),
                blocks.size() * sizeof(int32_t));
    buffers_.row_start[rows++] = static_cast<int32_t>(tokens);
    tokens += row.count;
  }
  buffers_.row_start[rows] = static_cast<int32_t>(tokens);
  return flow::StepInputs{.ids = {buffers_.ids, tokens},
                          .positions = {buffers_.positions, tokens},
                          .row_start = {buffers_.row_start, rows + 1},
                          .block_table = {buffers_.block_table, rows * max_blocks},
                          .max_blocks = static_cast<int32_t>(max_blocks)};
}

absl::Status OptRank::FillIds(const flow::Row& row, int32_t* ids) {
  const std::vector<TokenId>& known = slots_.at(row.slot).ids;
  const size_t needed = static_cast<size_t>(row.from) + row.count;
  PAMIR_RETURN_IF_ERROR(sampled_ids_.TakeFor(row.slot, needed));
  if (known.size() < needed) {
    return absl::InternalError(absl::StrCat("plan: row needs ", needed, " ids of slot ",
                                            row.slot.value, ", which has ", known.size()));
  }
  std::memcpy(ids, known.data() + row.from, row.count * sizeof(int32_t));
  return absl::OkStatus();
}

absl::Status OptRank::ShareSampledIds(const flow::StepPlan& plan, const flow::StepResult& result) {
  if (sampled_ids_.sampling_rank()) {
    for (size_t i = 0; i < result.sampled.size(); ++i) {
      buffers_.tokens[i] = result.sampled[i].token;
    }
    return sampled_ids_.Send(SampledSlots(plan, slots_), buffers_.tokens);
  }
  return first_stage() ? sampled_ids_.Await(SampledSlots(plan, slots_)) : absl::OkStatus();
}

// Hidden states are the same on all ranks of a stage, so rank j takes them from rank
// j mod (ranks of the stage before), and every rank sends to those that take from it.
absl::Status OptRank::ReceiveHidden(int64_t tokens) {
  const int width = static_cast<int>(options_.plan.stages[place_.stage - 1].shards.size());
  const int from = spec::RankAt(options_.plan, place_.stage - 1, place_.tensor_index % width);
  return groups_.world->Recv(
      from, buffers_.x, tokens * options_.model.hidden * static_cast<int64_t>(sizeof(float)), {});
}

absl::Status OptRank::SendHidden(int64_t tokens) {
  const int width = static_cast<int>(stage_.shards.size());
  const int next_width = static_cast<int>(options_.plan.stages[place_.stage + 1].shards.size());
  for (int j = place_.tensor_index; j < next_width; j += width) {
    PAMIR_RETURN_IF_ERROR(groups_.world->Send(
        spec::RankAt(options_.plan, place_.stage + 1, j), buffers_.x,
        tokens * options_.model.hidden * static_cast<int64_t>(sizeof(float)), {}));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<flow::Rank>> MakeOptRank(const OptRankOptions& options,
                                                        weights::RankWeights weights,
                                                        comm::Groups groups, OptRankSizes* sizes) {
  PAMIR_RETURN_IF_ERROR(spec::CheckShardPlan(options.model, options.plan));
  if (options.plan.limits.block_size != kernels::kKvBlockTokens) {
    return absl::InvalidArgumentError(absl::StrCat("the CPU engine's KV blocks hold ",
                                                   kernels::kKvBlockTokens, " tokens, not ",
                                                   options.plan.limits.block_size));
  }
  PAMIR_ASSIGN_OR_RETURN(StepBuffers buffers, AllocateStepBuffers(options.model, options.plan,
                                                                  options.rank, options.threads));
  PAMIR_ASSIGN_OR_RETURN(KvPool kv, AllocateKvPool(options.model, options.plan, options.rank));
  if (sizes != nullptr) {
    *sizes = {.weight_bytes = weights.bytes,
              .kv_bytes = kv.storage.bytes(),
              .buffer_bytes = buffers.storage.bytes()};
  }
  return std::make_unique<OptRank>(options, std::move(weights), std::move(groups),
                                   std::move(buffers), std::move(kv));
}

}  // namespace pamir::model
