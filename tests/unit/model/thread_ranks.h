// All ranks of a plan as threads of the test: real weights, real kernels, ThreadGroup between them.
#ifndef PAMIR_TESTS_UNIT_MODEL_THREAD_RANKS_H_
#define PAMIR_TESTS_UNIT_MODEL_THREAD_RANKS_H_

#include <memory>
#include <string>
#include <vector>

#include "core/flow/ports.h"
#include "core/spec/model_spec.h"
#include "core/spec/shard_plan.h"
#include "engine/comm/communicator.h"
#include "engine/weights/tensor_source.h"
#include "kernels/cuda/cuda_api.h"

namespace pamir::testing {

// Groups of every rank: one for its stage, one for all.
std::vector<comm::Groups> ThreadGroups(const spec::ShardPlan& plan);

class ThreadRanks {
 public:
  ThreadRanks(const spec::ModelSpec& model, const spec::ShardPlan& plan,
              const weights::TensorSource& source, int threads);

  // On GPUs behind `api`, all ranks on GPU 0; what they say to each other goes through pinned
  // memory and ThreadGroup. The plan is one for GPUs. The table outlives this.
  ThreadRanks(const spec::ModelSpec& model, const spec::ShardPlan& plan,
              const weights::TensorSource& source, const kernels::CudaApi* api, bool graphs = true);

  // Runs the plan on all ranks; the sampling rank's answer. The test fails where a rank fails.
  flow::StepResult Step(const flow::StepPlan& plan);

  flow::Rank* rank(int index) { return ranks_[index].get(); }

 private:
  const spec::ShardPlan plan_;
  std::vector<std::unique_ptr<flow::Rank>> ranks_;
};

// A plan with limits for small tests.
spec::ShardPlan SmallPlan(const spec::ModelSpec& model, int tp, int pp);
// The same for GPUs, with weights of this type.
spec::ShardPlan SmallCudaPlan(const spec::ModelSpec& model, int tp, int pp, DType type);

}  // namespace pamir::testing

#endif  // PAMIR_TESTS_UNIT_MODEL_THREAD_RANKS_H_
