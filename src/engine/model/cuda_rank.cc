#include "engine/model/cuda_rank.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/spin.h"
#include "base/status_macros.h"
#include "engine/model/cuda_rank_impl.h"

namespace pamir::model {

absl::StatusOr<flow::StepResult> CudaRank::Step(const flow::StepPlan& plan) {
  PAMIR_RETURN_IF_ERROR(Begin(plan));
  return Finish();
}

// Staged messages between stages make Begin wait for the stage before, which may wait for the ids
// that only Finish sends: then nothing is begun ahead.
int CudaRank::steps_ahead() const {
  return one_stage() || parts_.groups.world->capturable() ? kStepsAhead : 0;
}

absl::Status CudaRank::Begin(const flow::StepPlan& plan) {
  if (!dead_.ok()) return dead_;
  if (static_cast<int>(begun_.size()) > kStepsAhead) {
    return Die(absl::InternalError("more steps were begun than can be ahead"));
  }
  BegunStep step;
  step.begun = absl::Now();
  step.result.epoch = plan.epoch;
  step.result.step = plan.step;
  const absl::Status enqueued = Enqueue(plan, &step);
  begun_.push_back(std::move(step));
  return Die(enqueued);
}

// What goes wrong once stays: peers are not kept waiting, nor this rank by them.
absl::Status CudaRank::Die(const absl::Status& why) {
  if (why.ok()) return why;
  dead_ = why;
  for (const auto& group : {parts_.groups.stage, parts_.groups.world, parts_.host_world}) {
    if (group != nullptr) group->Abort(why);
  }
  return why;
}

absl::Status CudaRank::Enqueue(const flow::StepPlan& plan, BegunStep* step) {
  PAMIR_RETURN_IF_ERROR(sampled_ids_.TakeBefore(plan));
  PAMIR_RETURN_IF_ERROR(slots_.Apply(plan));
  PAMIR_RETURN_IF_ERROR(ForkTokens(plan.forks));
  PAMIR_RETURN_IF_ERROR(CopyBlocks(plan.block_copies));
  if (plan.rows.empty()) return absl::OkStatus();
  if (first_stage() && !one_stage()) {
    for (const flow::Row& row : plan.rows) {
      PAMIR_RETURN_IF_ERROR(slots_.CheckRow(row));
      PAMIR_RETURN_IF_ERROR(
          sampled_ids_.TakeFor(row.slot, static_cast<size_t>(row.from) + row.count));
    }
  }
  CudaStep inputs{.max_blocks = packer_.max_blocks()};
  PAMIR_ASSIGN_OR_RETURN(inputs.shape, packer_.Shape(plan));
  const int64_t tokens = inputs.shape.tokens;  // padding rows are each stage's own affair
  const int64_t padded = inputs.shape.in_order ? graphs_[0].RowsFor(inputs.shape.rows) : 0;
  if (padded > 0) inputs.shape = DecodeShape(padded, inputs.shape.context);
  inputs.at = OffsetsOf(inputs.shape, inputs.max_blocks);

  step->lane = inputs.lane = next_lane_;
  next_lane_ = (next_lane_ + 1) % kLanes;
  const Lane& lane = lanes_[step->lane];
  PAMIR_RETURN_IF_ERROR(
      packer_.Pack(plan, inputs.shape, first_stage(), static_cast<char*>(lane.inputs.get())));
  PAMIR_RETURN_IF_ERROR(Upload(lane, inputs));
  if (!first_stage()) PAMIR_RETURN_IF_ERROR(ReceiveHidden(tokens));
  PAMIR_RETURN_IF_ERROR(padded > 0 ? graphs_[step->lane].Launch(device(), stream_.get(), padded)
                                   : Compute(inputs));
  if (!last_stage()) PAMIR_RETURN_IF_ERROR(SendHidden(tokens));

  step->at = ResultsOf(inputs.shape.samples, inputs.shape.scores);
  PAMIR_RETURN_IF_ERROR(Download(lane, inputs, samples() ? step->at.bytes : 0));
  step->samples = SampledSlots(plan, slots_);
  for (const flow::Row& row : plan.rows) {
    if (row.wants != flow::RowWants::kPromptLogprobs || !samples()) continue;
    step->result.prompt_logprobs.push_back(
        {.slot = row.slot, .from = row.from, .logprobs = std::vector<float>(row.count)});
  }
  if (one_stage()) {
    for (const AwaitedSample& sample : step->samples) {
      slots_.AppendOnDevice(sample.slot, sample.generation);
    }
    return absl::OkStatus();
  }
  return first_stage() ? sampled_ids_.Await(step->samples) : absl::OkStatus();
}

// The step's inputs to the device, awaited by its kernels. Those of the lane's last step have
// ended: it was finished.
absl::Status CudaRank::Upload(const Lane& lane, const CudaStep& step) {
  PAMIR_RETURN_IF_ERROR(Check(
      api().copy(buffers_.inputs[step.lane], lane.inputs.get(), step.at.bytes, uploads_.get()),
      "copy inputs"));
  PAMIR_RETURN_IF_ERROR(
      Check(api().record_event(lane.uploaded.get(), uploads_.get()), "copy inputs"));
  return Check(api().wait_event(stream_.get(), lane.uploaded.get()), "await inputs");
}

// So many bytes of results to the host once the kernels have ended, and the mark of the step's end.
absl::Status CudaRank::Download(const Lane& lane, const CudaStep& step, int64_t bytes) {
  PAMIR_RETURN_IF_ERROR(
      Check(api().record_event(lane.computed.get(), stream_.get()), "mark a step"));
  PAMIR_RETURN_IF_ERROR(
      Check(api().wait_event(downloads_.get(), lane.computed.get()), "await results"));
  PAMIR_RETURN_IF_ERROR(
      Check(api().copy(lane.results.get(), buffers_.results[step.lane], bytes, downloads_.get()),
            "copy results"));
  return Check(api().record_event(lane.done.get(), downloads_.get()), "mark a step");
}

// All kernels of a step; in a graph, or one by one.
absl::Status CudaRank::Compute(const CudaStep& step) {
  if (first_stage()) PAMIR_RETURN_IF_ERROR(CudaEmbed(context_, step));
  PAMIR_RETURN_IF_ERROR(CudaLayers(context_, step, last_stage()));
  if (!last_stage()) return absl::OkStatus();
  PAMIR_RETURN_IF_ERROR(CudaHead(context_, step));
  return one_stage() && context_.stage != nullptr ? ShareOnDevice(step) : absl::OkStatus();
}

// The other ranks of the stage take over what its first rank sampled.
absl::Status CudaRank::ShareOnDevice(const CudaStep& step) {
  if (step.shape.samples == 0) return absl::OkStatus();
  const ResultOffsets at = ResultsOf(step.shape.samples, step.shape.scores);
  int32_t* tokens = Result<int32_t>(context_, step, at.tokens);
  PAMIR_RETURN_IF_ERROR(context_.stage->Broadcast(
      0, tokens, step.shape.samples * static_cast<int64_t>(sizeof(int32_t)), stream_.get()));
  if (place_.tensor_index == 0) return absl::OkStatus();
  kernels::ScatterTokensCudaArgs args;
  args.tokens = tokens;
  args.slots = Input<int32_t>(context_, step, step.at.sample_slots);
  args.count = step.shape.samples;
  args.sampled = buffers_.sampled;
  return Check(api().scatter_tokens(args, stream_.get()), "take over sampled tokens");
}

absl::Status CudaRank::CopyBlocks(const std::vector<flow::BlockCopy>& copies) {
  for (size_t done = 0; done < copies.size(); done += kMaxBlockPairs) {
    const size_t count = std::min<size_t>(kMaxBlockPairs, copies.size() - done);
    // What was sent last must have been read.
    PAMIR_RETURN_IF_ERROR(
        Check(api().synchronize_event(block_pairs_.done.get()), "copy block numbers"));
    auto* pairs = static_cast<kernels::BlockPair*>(block_pairs_.inputs.get());
    for (size_t i = 0; i < count; ++i) {
      pairs[i] = {copies[done + i].from.value, copies[done + i].to.value};
    }
    PAMIR_RETURN_IF_ERROR(
        Check(api().copy(buffers_.block_pairs, pairs, static_cast<int64_t>(count * sizeof pairs[0]),
                         stream_.get()),
              "copy block numbers"));
    PAMIR_RETURN_IF_ERROR(
        Check(api().record_event(block_pairs_.done.get(), stream_.get()), "copy block numbers"));
    kernels::CopyBlocksCudaArgs args;
    args.planes = buffers_.planes;
    args.plane_count = 2 * static_cast<int64_t>(kv_.layers.size());
    args.block_bytes = kv_.block_bytes;
    args.pairs = static_cast<const kernels::BlockPair*>(buffers_.block_pairs);
    args.count = static_cast<int64_t>(count);
    PAMIR_RETURN_IF_ERROR(Check(api().copy_blocks(args, stream_.get()), "copy KV blocks"));
  }
  return absl::OkStatus();
}

// A fork's last token may be known to the device alone.
absl::Status CudaRank::ForkTokens(const std::vector<flow::Fork>& forks) {
  for (const flow::Fork& fork : forks) {
    PAMIR_RETURN_IF_ERROR(
        Check(api().copy(buffers_.sampled + fork.to.value, buffers_.sampled + fork.from.value,
                         sizeof(int32_t), stream_.get()),
              "fork a slot"));
  }
  return absl::OkStatus();
}

// Hidden states are the same on all ranks of a stage, so rank j takes them from rank
// j mod (ranks of the stage before), and every rank sends to those that take from it.
absl::Status CudaRank::ReceiveHidden(int64_t tokens) {
  const int width = static_cast<int>(options_.plan.stages[place_.stage - 1].shards.size());
  const int from = spec::RankAt(options_.plan, place_.stage - 1, place_.tensor_index % width);
  return parts_.groups.world->Recv(
      from, buffers_.x, tokens * options_.model.hidden * static_cast<int64_t>(sizeof(float)),
      stream_.get());
}

absl::Status CudaRank::SendHidden(int64_t tokens) {
  const int width = static_cast<int>(stage_.shards.size());
  const int next_width = static_cast<int>(options_.plan.stages[place_.stage + 1].shards.size());
  for (int j = place_.tensor_index; j < next_width; j += width) {
    PAMIR_RETURN_IF_ERROR(parts_.groups.world->Send(
        spec::RankAt(options_.plan, place_.stage + 1, j), buffers_.x,
        tokens * options_.model.hidden * static_cast<int64_t>(sizeof(float)), stream_.get()));
  }
  return absl::OkStatus();
}

bool CudaRank::CanFinish() {
  if (!dead_.ok() || begun_.empty() || begun_.front().lane < 0) return true;
  bool done = false;
  if (api().event_done(lanes_[begun_.front().lane].done.get(), &done) != 0) return true;
  return done || absl::Now() > begun_.front().begun + options_.step_timeout;
}

absl::StatusOr<flow::StepResult> CudaRank::Finish() {
  if (!dead_.ok()) return dead_;
  if (begun_.empty()) return absl::InternalError("no step was begun");
  BegunStep step = std::move(begun_.front());
  begun_.pop_front();
  PAMIR_RETURN_IF_ERROR(Die(TakeResults(&step)));
  step.result.engine_us = absl::ToInt64Microseconds(absl::Now() - step.begun);
  return std::move(step.result);
}

absl::Status CudaRank::WaitFor(const BegunStep& step) {
  void* event = lanes_[step.lane].done.get();
  if (parts_.groups.world == nullptr)
    return Check(api().synchronize_event(event), "compute a step");
  const absl::Time deadline = step.begun + options_.step_timeout;
  for (int turn = 1;; ++turn) {
    bool done = false;
    PAMIR_RETURN_IF_ERROR(Check(api().event_done(event, &done), "compute a step"));
    if (done) return absl::OkStatus();
    if (turn % 64 == 0 && absl::Now() > deadline) {
      return absl::DeadlineExceededError(absl::StrCat(
          "step ", step.result.step.value, " did not end within ",
          absl::FormatDuration(options_.step_timeout), ": a rank that it needs does not answer"));
    }
    SpinPause(turn);
  }
}

absl::Status CudaRank::TakeResults(BegunStep* step) {
  if (step->lane < 0) return absl::OkStatus();
  PAMIR_RETURN_IF_ERROR(WaitFor(*step));
  if (!samples()) return absl::OkStatus();
  const char* results = static_cast<const char*>(lanes_[step->lane].results.get());
  const auto* tokens = reinterpret_cast<const int32_t*>(results + step->at.tokens);
  const auto* logprobs = reinterpret_cast<const float*>(results + step->at.logprobs);
  const auto* scores = reinterpret_cast<const float*>(results + step->at.score_logprobs);
  for (size_t i = 0; i < step->samples.size(); ++i) {
    if (tokens[i] < 0 || tokens[i] >= options_.model.vocab || std::isnan(logprobs[i])) {
      return absl::InternalError(absl::StrCat("the logits of slot ", step->samples[i].slot.value,
                                              " are not numbers: the sampled id is ", tokens[i],
                                              ", its log-probability ", logprobs[i]));
    }
    step->result.sampled.push_back(
        {.slot = step->samples[i].slot, .token = tokens[i], .flags = 0, .logprob = logprobs[i]});
  }
  for (flow::PromptLogprobs& row : step->result.prompt_logprobs) {
    for (float& logprob : row.logprobs) logprob = *scores++;
  }
  return one_stage() ? absl::OkStatus() : sampled_ids_.Send(step->samples, tokens);
}

}  // namespace pamir::model
