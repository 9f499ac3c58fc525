// The memory that a rank takes beside its weights and its KV pool, at the default limits.
#include <string>
#include <vector>

#include "base/units.h"
#include "core/spec/weight_layout.h"
#include "engine/model/step_buffers.h"
#include "gtest/gtest.h"

namespace pamir::model {
namespace {

constexpr int kThreads = 8;
// Of the 200 MB: the process with its libraries, staging, and the memory shared between ranks.
constexpr int64_t kRestOfTheProcess = 90 * 1000 * 1000;

// What the rank holds of the checkpoint, as it lies in the files.
int64_t CheckpointBytes(const spec::ModelSpec& model, const spec::ShardPlan& plan, int rank) {
  int64_t elements = 0;
  for (const spec::WeightPiece& piece : spec::WeightLayoutOf(model, plan, rank).pieces) {
    for (const spec::WeightSource& part : piece.sources) {
      elements += part.rows.size() * part.columns.size();
    }
  }
  return elements * static_cast<int64_t>(SizeOf(model.dtype));
}

TEST(Memory, WithinTheLimitForEveryPublishedModel) {
  for (const std::string& name : spec::NamedModels()) {
    const spec::ModelSpec model = spec::NamedModel(name).value();
    for (const auto& [tp, pp] : {std::pair{1, 1}, std::pair{2, 1}, std::pair{4, 2}}) {
      if (model.heads % tp != 0) continue;
      const spec::ShardPlan plan = spec::EvenShardPlan(model, tp, pp).value();
      for (int rank = 0; rank < plan.ranks(); ++rank) {
        const auto buffers = AllocateStepBuffers(model, plan, rank, kThreads);
        ASSERT_TRUE(buffers.ok()) << buffers.status();
        const int64_t allowed = CheckpointBytes(model, plan, rank) * 115 / 100 + 200'000'000;
        const int64_t weights = spec::BytesOfRank(model, plan, rank).weights;
        EXPECT_LE(weights + buffers->storage.bytes() + kRestOfTheProcess, allowed)
            << name << " " << tp << " x " << pp << " rank " << rank << ": "
            << HumanBytes(buffers->storage.bytes()) << " of buffers";
      }
    }
  }
}

}  // namespace
}  // namespace pamir::model
