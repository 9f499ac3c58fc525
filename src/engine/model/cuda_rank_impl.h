// The class behind MakeCudaRank: cuda_start.cc takes memory and captures graphs, cuda_rank.cc runs
// steps.
#ifndef PAMIR_ENGINE_MODEL_CUDA_RANK_IMPL_H_
#define PAMIR_ENGINE_MODEL_CUDA_RANK_IMPL_H_

#include <array>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "engine/model/cuda_graphs.h"
#include "engine/model/cuda_layers.h"
#include "engine/model/cuda_rank.h"
#include "engine/model/sampled_ids.h"
#include "engine/model/slots.h"

namespace pamir::model {

// What a begun step needs on the host until it is finished, and the marks between its streams.
struct Lane {
  device::PinnedMemory inputs;
  device::PinnedMemory results;
  device::CudaEvent uploaded;
  device::CudaEvent computed;
  device::CudaEvent done;
};

struct BegunStep {
  flow::StepResult result;  // filled when it is finished
  ResultOffsets at;         // of what comes back
  AwaitedStep samples;      // in the plan's order
  int lane = -1;            // none: nothing was computed
  absl::Time begun;
};

class CudaRank final : public flow::Rank {
 public:
  CudaRank(const CudaRankOptions& options, CudaRankParts parts)
      : options_(options),
        place_(spec::PlaceOfRank(options_.plan, options_.rank)),
        stage_(options_.plan.stages[place_.stage]),
        parts_(std::move(parts)),
        slots_(options_.plan.limits, options_.model.vocab),
        packer_(options_.plan.limits, &slots_),
        sampled_ids_(options_.plan, options_.rank, parts_.host_world.get(), &slots_) {}
  ~CudaRank() override;

  absl::Status Start(CudaRankSizes* sizes);

  absl::StatusOr<flow::StepResult> Step(const flow::StepPlan& plan) override;
  int steps_ahead() const override;
  absl::Status Begin(const flow::StepPlan& plan) override;
  bool CanFinish() override;
  absl::StatusOr<flow::StepResult> Finish() override;

 private:
  const device::CudaDevice& device() const { return *parts_.device; }
  const kernels::CudaApi& api() const { return parts_.device->api(); }
  absl::Status Check(int error, const char* what) const { return device().Check(error, what); }
  bool first_stage() const { return place_.stage == 0; }
  bool last_stage() const { return place_.stage + 1 == options_.plan.pipeline(); }
  bool one_stage() const { return options_.plan.pipeline() == 1; }
  bool samples() const { return last_stage() && place_.tensor_index == 0; }

  comm::Communicator* StageGroup() const;
  absl::Status MakeLanes();
  absl::Status FillPlanes();
  absl::Status CaptureGraphs();

  absl::Status Upload(const Lane& lane, const CudaStep& step);
  absl::Status Download(const Lane& lane, const CudaStep& step, int64_t bytes);
  absl::Status Enqueue(const flow::StepPlan& plan, BegunStep* step);
  absl::Status CopyBlocks(const std::vector<flow::BlockCopy>& copies);
  absl::Status ForkTokens(const std::vector<flow::Fork>& forks);
  absl::Status Compute(const CudaStep& step);
  absl::Status ShareOnDevice(const CudaStep& step);
  absl::Status ReceiveHidden(int64_t tokens);
  absl::Status SendHidden(int64_t tokens);
  absl::Status Die(const absl::Status& why);
  absl::Status WaitFor(const BegunStep& step);
  absl::Status TakeResults(BegunStep* step);

  const CudaRankOptions options_;
  const spec::RankPlace place_;
  const spec::StagePlan& stage_;
  CudaRankParts parts_;  // the device goes last
  device::CudaStream stream_;
  // Inputs come and results leave beside the kernels of other steps.
  device::CudaStream uploads_, downloads_;
  kernels::cuda::ProductDevice* products_ = nullptr;
  CudaBuffers buffers_;
  CudaKv kv_;
  CudaBiases biases_;
  CudaContext context_;
  std::array<DecodeGraphs, kLanes> graphs_;  // a lane's read and write its own buffers
  std::vector<Lane> lanes_;
  Lane block_pairs_;  // its inputs only: blocks to be copied, on their way
  int next_lane_ = 0;
  SlotTable slots_;
  InputPacker packer_;
  SampledIds sampled_ids_;  // pipelines: from the last stage to the first, between hosts
  std::deque<BegunStep> begun_;
  absl::Status dead_;
};

}  // namespace pamir::model

#endif  // PAMIR_ENGINE_MODEL_CUDA_RANK_IMPL_H_
