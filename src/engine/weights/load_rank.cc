// A CPU's weights: packed into one buffer of the host as they are read.
#include <vector>

#include "base/status_macros.h"
#include "engine/device/host_buffer.h"
#include "engine/weights/place_weights.h"
#include "engine/weights/rank_weights.h"
#include "engine/weights/weight_loader.h"

namespace pamir::weights {
namespace {

using spec::WeightForm;
using spec::WeightPiece;

class HostLane final : public LoadLane {
 public:
  HostLane(const LoadPlan& plan, char* base) : plan_(plan), base_(base) {}

  absl::StatusOr<void*> Room(const WeightPiece&, DType from, int64_t count) override {
    const size_t bytes = static_cast<size_t>(count) * SizeOf(from);
    if (staging_.size() < bytes) staging_.resize(bytes);
    return staging_.data();
  }

  absl::Status Place(const WeightPiece& piece, DType from, Range held) override {
    char* const at = base_ + piece.offset;
    if (piece.form == WeightForm::kPanels || piece.form == WeightForm::kNeurons) {
      kernels::PackRows(MatrixOf<kernels::Matrix>(piece, plan_.weight_dtype, base_), at, held.begin,
                        held.size(), staging_.data(), from, piece.columns);
    } else {
      const DType to = plan_.KeptAs(piece);
      ConvertValues(from, staging_.data(), to, at + held.begin * piece.columns * SizeOf(to),
                    held.size() * piece.columns);
    }
    return absl::OkStatus();
  }

  absl::Status Finish() override { return absl::OkStatus(); }

 private:
  const LoadPlan& plan_;
  char* const base_;
  std::vector<char> staging_;
};

class HostTarget final : public LoadTarget {
 public:
  HostTarget(const LoadPlan& plan, char* base) : plan_(plan), base_(base) {}

  absl::StatusOr<std::unique_ptr<LoadLane>> OpenLane() override {
    return std::make_unique<HostLane>(plan_, base_);
  }

 private:
  const LoadPlan& plan_;
  char* const base_;
};

}  // namespace

absl::StatusOr<RankWeights> LoadRankWeights(const spec::ModelSpec& model,
                                            const spec::ShardPlan& plan, int rank,
                                            const TensorSource& source, int threads,
                                            const std::function<void(LoadProgress)>& progress) {
  PAMIR_ASSIGN_OR_RETURN(const LoadPlan load,
                         PlanLoad(model, plan, rank, source, spec::DeviceKind::kCpu));
  PAMIR_ASSIGN_OR_RETURN(device::HostBuffer buffer,
                         device::HostBuffer::Allocate(load.layout.bytes));
  char* const base = static_cast<char*>(buffer.data());
  HostTarget target(load, base);
  PAMIR_RETURN_IF_ERROR(FillTarget(load, source, target, threads, progress));
  RankWeights weights =
      PlaceWeights<kernels::Matrix>(model, load.layout, load.layers, load.weight_dtype, base);
  weights.storage = std::make_shared<device::HostBuffer>(std::move(buffer));
  return weights;
}

}  // namespace pamir::weights
