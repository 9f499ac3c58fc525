#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/units.h"
#include "core/spec/weight_layout.h"
#include "engine/model/cuda_rank_impl.h"
#include "engine/model/cuda_tuning.h"

namespace pamir::model {

CudaRank::~CudaRank() {
  if (!begun_.empty()) Die(absl::CancelledError("the rank ends")).IgnoreError();
  for (const device::CudaStream* stream : {&uploads_, &stream_, &downloads_}) {
    if (stream->valid()) api().synchronize_stream(stream->get());  // nothing may run any more
  }
  if (products_ != nullptr) api().close_product(products_);
}

absl::Status CudaRank::Start(CudaRankSizes* sizes) {
  for (device::CudaStream* stream : {&uploads_, &stream_, &downloads_}) {
    PAMIR_ASSIGN_OR_RETURN(*stream, device::MakeStream(device()));
  }
  PAMIR_RETURN_IF_ERROR(Check(api().open_product(options_.cublaslt, &products_), "open products"));
  const spec::ModelSpec& model = options_.model;
  const spec::ShardPlan& plan = options_.plan;
  PAMIR_ASSIGN_OR_RETURN(buffers_, AllocateCudaBuffers(device(), model, plan, options_.rank));
  PAMIR_ASSIGN_OR_RETURN(kv_, AllocateCudaKv(device(), model, plan, options_.rank));
  bool dependent = false;
  PAMIR_RETURN_IF_ERROR(Check(api().dependent_launches(&dependent), "look at the kernels"));
  context_ = {.device = parts_.device.get(),
              .stream = stream_.get(),
              .products = products_,
              .model = &model,
              .plan = &plan,
              .weights = &parts_.weights,
              .biases = &biases_,
              .buffers = &buffers_,
              .kv = &kv_,
              .stage = StageGroup(),
              .tensor_index = place_.tensor_index,
              .vocab = stage_.shards[place_.tensor_index].vocab,
              .dependent = dependent};
  PAMIR_ASSIGN_OR_RETURN(biases_, CopyBiases(context_));
  PAMIR_RETURN_IF_ERROR(TuneProducts(context_, products_));
  // The scratch of attention and of the skip holds counters that begin at zero; the rest is zeroed
  // so that padding rows compute with numbers.
  PAMIR_RETURN_IF_ERROR(Check(api().fill(buffers_.storage.get(), 0, buffers_.bytes, stream_.get()),
                              "clear the buffers"));
  PAMIR_RETURN_IF_ERROR(
      Check(api().fill(kv_.storage.get(), 0, kv_.bytes, stream_.get()), "clear the KV cache"));
  PAMIR_RETURN_IF_ERROR(MakeLanes());
  PAMIR_RETURN_IF_ERROR(FillPlanes());
  PAMIR_RETURN_IF_ERROR(CaptureGraphs());
  PAMIR_RETURN_IF_ERROR(Check(api().synchronize_stream(stream_.get()), "start"));
  *sizes = {.weight_bytes = parts_.weights.bytes,
            .kv_bytes = kv_.bytes,
            .buffer_bytes = buffers_.bytes,
            .graphs = kLanes * graphs_.front().size()};
  return absl::OkStatus();
}

// A stage of one rank needs no group, but one of NCCL is used where there is one: its collectives
// then run inside the graphs as they would with more ranks.
comm::Communicator* CudaRank::StageGroup() const {
  comm::Communicator* group = parts_.groups.stage.get();
  return group != nullptr && (group->size() > 1 || group->capturable()) ? group : nullptr;
}

absl::Status CudaRank::MakeLanes() {
  const StepShape largest = LargestShape(options_.plan.limits);
  for (int i = 0; i < kLanes; ++i) {
    Lane lane;
    PAMIR_ASSIGN_OR_RETURN(
        lane.inputs,
        device::AllocatePinned(device(), OffsetsOf(largest, packer_.max_blocks()).bytes,
                               "a step's inputs"));
    PAMIR_ASSIGN_OR_RETURN(
        lane.results,
        device::AllocatePinned(device(), ResultsOf(largest.samples, largest.scores).bytes,
                               "a step's results"));
    for (device::CudaEvent* event : {&lane.uploaded, &lane.computed, &lane.done}) {
      PAMIR_ASSIGN_OR_RETURN(*event, device::MakeEvent(device()));
    }
    lanes_.push_back(std::move(lane));
  }
  return absl::OkStatus();
}

absl::Status CudaRank::FillPlanes() {
  PAMIR_ASSIGN_OR_RETURN(
      block_pairs_.inputs,
      device::AllocatePinned(device(),
                             kMaxBlockPairs * static_cast<int64_t>(sizeof(kernels::BlockPair)),
                             "the numbers of blocks to copy"));
  PAMIR_ASSIGN_OR_RETURN(block_pairs_.done, device::MakeEvent(device()));
  std::vector<void*> planes;
  for (const kernels::KvCuda& layer : kv_.layers) {
    planes.push_back(layer.k);
    planes.push_back(layer.v);
  }
  PAMIR_RETURN_IF_ERROR(
      Check(api().copy(buffers_.planes, planes.data(),
                       static_cast<int64_t>(planes.size() * sizeof(void*)), stream_.get()),
            "place the KV cache's planes"));
  return Check(api().synchronize_stream(stream_.get()), "place the KV cache's planes");
}

// All ranks of a stage capture the same steps in the same order, so that what their communicator
// does in them fits together.
absl::Status CudaRank::CaptureGraphs() {
  if (!options_.graphs || (context_.stage != nullptr && !context_.stage->capturable())) {
    return absl::OkStatus();
  }
  const spec::EngineLimits& limits = options_.plan.limits;
  const int64_t most = std::min(limits.max_num_seqs, limits.max_num_batched_tokens);
  for (const int64_t rows : GraphLadder(most)) {
    CudaStep step{.shape = DecodeShape(rows, limits.max_model_len),
                  .max_blocks = packer_.max_blocks()};
    step.at = OffsetsOf(step.shape, step.max_blocks);
    for (step.lane = 0; step.lane < kLanes; ++step.lane) {
      // Inputs of padding rows only: positions of 0, in the block behind the last one.
      PAMIR_RETURN_IF_ERROR(packer_.Shape({}).status());
      PAMIR_RETURN_IF_ERROR(packer_.Pack({}, step.shape, first_stage(),
                                         static_cast<char*>(lanes_[step.lane].inputs.get())));
      PAMIR_RETURN_IF_ERROR(Upload(lanes_[step.lane], step));
      PAMIR_RETURN_IF_ERROR(
          graphs_[step.lane].Capture(device(), stream_.get(), rows, [&] { return Compute(step); }));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckCudaMemory(const device::CudaDevice& device, const spec::ModelSpec& model,
                             const spec::ShardPlan& plan, int rank) {
  const int64_t weights = spec::WeightLayoutOf(model, plan, rank).bytes;
  const int64_t kv =
      (int64_t{plan.limits.num_blocks} + 1) * spec::KvBytesPerBlock(model, plan, rank);
  const int64_t buffers = CudaBufferBytes(device.api(), model, plan, rank);
  PAMIR_ASSIGN_OR_RETURN(const int64_t free, device.FreeBytes());
  const int64_t needed = weights + kv + buffers;
  if (needed <= free) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      "rank ", rank, " does not fit on GPU ", device.index(), " (",
      std::string(device.facts().name), "): weights ", HumanBytes(weights), ", KV cache ",
      HumanBytes(kv), ", buffers ", HumanBytes(buffers), " are ", HumanBytes(needed - free),
      " more than the ", HumanBytes(free), " that are free; use more ranks, or fewer KV blocks"));
}

absl::StatusOr<std::unique_ptr<flow::Rank>> MakeCudaRank(const CudaRankOptions& options,
                                                         CudaRankParts parts,
                                                         CudaRankSizes* sizes) {
  PAMIR_RETURN_IF_ERROR(spec::CheckShardPlan(options.model, options.plan));
  auto rank = std::make_unique<CudaRank>(options, std::move(parts));
  PAMIR_RETURN_IF_ERROR(rank->Start(sizes));
  return rank;
}

}  // namespace pamir::model
