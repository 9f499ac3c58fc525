// Where each piece of a rank's weights lies in its one allocation, and what it is made from. The
// loader fills exactly this, and BytesOfRank counts exactly this: one arithmetic, no drift.
#ifndef PAMIR_CORE_SPEC_WEIGHT_LAYOUT_H_
#define PAMIR_CORE_SPEC_WEIGHT_LAYOUT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "base/units.h"
#include "core/spec/model_spec.h"
#include "core/spec/shard_plan.h"

namespace pamir::spec {

// Every piece begins at a multiple of this many bytes; the whole is a multiple of it.
inline constexpr int64_t kWeightAlignment = 64;       // on a CPU
inline constexpr int64_t kCudaWeightAlignment = 256;  // on a GPU
constexpr int64_t WeightAlignment(DeviceKind device) {
  return device == DeviceKind::kCpu ? kWeightAlignment : kCudaWeightAlignment;
}
// On a CPU matrices are padded to a multiple of this many outputs. The kernels' kPanelOutputs:
// engine/weights asserts that they are equal, since core includes no kernels.
inline constexpr int64_t kOutputPadding = 16;

enum class WeightRole : uint8_t {
  kEmbedding,
  kPositions,
  kProjectIn,
  kProjectOut,
  kFinalGamma,
  kFinalBeta,
  kLmHead,
  // of a layer:
  kAttentionGamma,
  kAttentionBeta,
  kQkv,
  kQkvBias,
  kOut,
  kOutBias,
  kFfnGamma,
  kFfnBeta,
  kFc1,
  kFc1Bias,
  kFc2,
  kFc2Bias,
};

enum class WeightForm : uint8_t {
  kPanels,   // matrix packed for dense inputs, in the plan's weight_dtype; CPU
  kNeurons,  // matrix packed by inputs, in the plan's weight_dtype; CPU
  kRows,     // matrix, row-major as in the checkpoint, in the plan's weight_dtype; GPU
  kColumns,  // matrix, transposed: [columns][rows], in the plan's weight_dtype; GPU
  kTable,    // row-major rows that are only looked up, in the plan's weight_dtype
  kVector,   // fp32, one column
};

// A slice of one checkpoint tensor, and the row of the piece that its first row becomes.
struct WeightSource {
  std::string tensor;
  Range rows;
  Range columns;
  int64_t to_row = 0;
};

struct WeightPiece {
  WeightRole role = WeightRole::kEmbedding;
  int64_t layer = -1;  // of the model; -1 outside the layers
  WeightForm form = WeightForm::kPanels;
  int64_t rows = 0;  // [rows, columns] as in the checkpoint: outputs, inputs
  int64_t columns = 0;
  int64_t offset = 0;                 // in bytes
  int64_t bytes = 0;                  // padding outputs included (CPU; a GPU has none)
  std::vector<WeightSource> sources;  // in the order of to_row, without gaps
};

struct WeightLayout {
  std::vector<WeightPiece> pieces;  // in the order of offset
  int64_t bytes = 0;
};

// The plan must have passed CheckShardPlan (its limits are not looked at), and `rank` be one of it.
WeightLayout WeightLayoutOf(const ModelSpec& model, const ShardPlan& plan, int rank);

}  // namespace pamir::spec

#endif  // PAMIR_CORE_SPEC_WEIGHT_LAYOUT_H_
