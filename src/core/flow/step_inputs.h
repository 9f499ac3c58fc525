// Hop 5: what the kernels of one step read, packed so that it is one host-to-device copy. Made by
// the model from a StepPlan and its slots; views into one buffer that the model owns.
#ifndef PAMIR_CORE_FLOW_STEP_INPUTS_H_
#define PAMIR_CORE_FLOW_STEP_INPUTS_H_

#include <cstdint>
#include <span>

#include "base/ids.h"

namespace pamir::flow {

// A step has T tokens in R rows; row r holds tokens row_start[r] .. row_start[r + 1] - 1, which are
// consecutive positions of one sequence.
struct StepInputs {
  std::span<const TokenId> ids;          // [T]
  std::span<const int32_t> positions;    // [T], 0-based; the learned table's row is position + 2
  std::span<const int32_t> row_start;    // [R + 1]
  std::span<const int32_t> block_table;  // [R][max_blocks]: block of positions j*B .. j*B+B-1
  int32_t max_blocks = 0;
};

}  // namespace pamir::flow

#endif  // PAMIR_CORE_FLOW_STEP_INPUTS_H_
