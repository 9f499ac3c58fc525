// Fills a rank's weight layout on any device: threads take chunks of pieces, read them, check them,
// and hand them to the device's target.
#ifndef PAMIR_ENGINE_WEIGHTS_WEIGHT_LOADER_H_
#define PAMIR_ENGINE_WEIGHTS_WEIGHT_LOADER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/spec/weight_layout.h"
#include "engine/weights/rank_weights.h"

namespace pamir::weights {

// What is to be read. Made before a byte is allocated: every tensor that the rank needs is there
// and has the right shape.
struct LoadPlan {
  spec::WeightLayout layout;
  std::unordered_map<std::string, DType> stored;  // the dtypes of the tensors
  DType weight_dtype = DType::kFloat16;
  int64_t bytes = 0;          // to read
  int64_t largest_chunk = 0;  // bytes of the most that is read at once, as stored and as kept
  Range layers;               // of the rank's stage

  DType KeptAs(const spec::WeightPiece& piece) const {
    return piece.form == spec::WeightForm::kVector ? DType::kFloat32 : weight_dtype;
  }
};

// INVALID_ARGUMENT: no such rank, a plan for another device, or a tensor of another shape;
// NOT_FOUND: a tensor is not there.
absl::StatusOr<LoadPlan> PlanLoad(const spec::ModelSpec& model, const spec::ShardPlan& plan,
                                  int rank, const TensorSource& source, spec::DeviceKind device);

// One thread's way into a target.
class LoadLane {
 public:
  virtual ~LoadLane() = default;
  // Where `count` values of type `from` are to be read to, which belong to `piece`. It is the
  // caller's until Place.
  virtual absl::StatusOr<void*> Room(const spec::WeightPiece& piece, DType from, int64_t count) = 0;
  // Puts what was read, the rows `held` of the piece, row-major and finite, where it belongs.
  virtual absl::Status Place(const spec::WeightPiece& piece, DType from, Range held) = 0;
  // Everything is where it belongs.
  virtual absl::Status Finish() = 0;
};

class LoadTarget {
 public:
  virtual ~LoadTarget() = default;
  // On the thread that will use it. It ends before the target does.
  virtual absl::StatusOr<std::unique_ptr<LoadLane>> OpenLane() = 0;
};

// Returns the error of the first chunk that failed, whatever the number of threads; all lanes have
// ended by then.
absl::Status FillTarget(const LoadPlan& plan, const TensorSource& source, LoadTarget& target,
                        int threads, const std::function<void(LoadProgress)>& progress);

// Values of one type as another.
void ConvertValues(DType from, const void* source, DType to, void* out, int64_t count);

}  // namespace pamir::weights

#endif  // PAMIR_ENGINE_WEIGHTS_WEIGHT_LOADER_H_
