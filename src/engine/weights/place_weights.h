// Pointers and shapes of a rank's weights from a layout and its allocation.
#ifndef PAMIR_ENGINE_WEIGHTS_PLACE_WEIGHTS_H_
#define PAMIR_ENGINE_WEIGHTS_PLACE_WEIGHTS_H_

#include "core/spec/weight_layout.h"
#include "engine/weights/rank_weights.h"

namespace pamir::weights {

// The view of a piece that is a matrix, in the allocation that begins at `base`. Matrix is
// kernels::Matrix where the layout is a CPU's, kernels::cuda::GpuMatrix where it is a GPU's.
template <typename Matrix>
Matrix MatrixOf(const spec::WeightPiece& piece, DType dtype, const char* base);

// Everything but `storage`. `layers` are those of the rank's stage. Reads nothing at `base`.
template <typename Matrix>
RankWeightsOf<Matrix> PlaceWeights(const spec::ModelSpec& model, const spec::WeightLayout& layout,
                                   Range layers, DType dtype, const char* base);

}  // namespace pamir::weights

#endif  // PAMIR_ENGINE_WEIGHTS_PLACE_WEIGHTS_H_
