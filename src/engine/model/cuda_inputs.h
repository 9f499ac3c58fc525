// What the kernels of one step read, packed into one piece so that it is one host-to-device copy.
//
// Tokens are reordered, which changes no bit: first the emitted rows of one token (decoding), then
// the other emitted rows, then prompts. Results come back in the plan's order.
#ifndef PAMIR_ENGINE_MODEL_CUDA_INPUTS_H_
#define PAMIR_ENGINE_MODEL_CUDA_INPUTS_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/ids.h"
#include "core/flow/step_plan.h"
#include "core/spec/shard_plan.h"
#include "engine/model/slots.h"
#include "kernels/attention/attention_cuda.h"
#include "kernels/sample/sample_args.h"

namespace pamir::model {

struct StepShape {
  int64_t tokens = 0;
  int64_t rows = 0;
  int64_t decoding = 0;  // tokens at the front that are emitted rows by themselves
  int64_t emitted = 0;   // tokens at the front of emitted rows, `decoding` among them
  int64_t samples = 0;
  int64_t scores = 0;     // prompt log-probabilities
  int64_t tiles = 0;      // of the tokens behind `decoding`
  int64_t context = 0;    // above every position
  int64_t kv_tokens = 0;  // the contexts of the rows behind `decoding`, together
  bool in_order = false;  // the tokens are the samples, one after the other, and nothing else
};

// Where each part lies in the piece, from its beginning. Parts are aligned to 16 bytes.
struct InputOffsets {
  int64_t ids = 0;           // int32 [tokens]; below 0: see EmbedCudaArgs
  int64_t positions = 0;     // int32 [tokens]
  int64_t token_row = 0;     // int32 [tokens]
  int64_t block_table = 0;   // int32 [rows][max blocks of a sequence]
  int64_t picks = 0;         // int32 [samples + scores]: tokens that want logits
  int64_t sample_slots = 0;  // int32 [samples]
  int64_t score_ids = 0;     // int32 [scores]: the ids behind these tokens
  int64_t params = 0;        // SampleRow [samples]
  int64_t tiles = 0;         // QueryTile [tiles]
  int64_t bytes = 0;
};
InputOffsets OffsetsOf(const StepShape& shape, int64_t max_blocks);

// A decode step of `rows`, for contexts below `context`.
StepShape DecodeShape(int64_t rows, int64_t context);

// No step that the limits allow has more of anything.
StepShape LargestShape(const spec::EngineLimits& limits);

class InputPacker {
 public:
  InputPacker(const spec::EngineLimits& limits, const SlotTable* slots);

  // Looks at the plan's rows, in the order that they will have. The table has been brought up to
  // the plan. INTERNAL: the plan is unsound.
  absl::StatusOr<StepShape> Shape(const flow::StepPlan& plan);

  // The step of the last Shape() into `to`. Where that was in_order, `shape` may have more
  // rows: they write to the KV block behind the last one and to the slot behind the last one.
  // `with_ids`: first stage; the others' ids stay as they are.
  absl::Status Pack(const flow::StepPlan& plan, const StepShape& shape, bool with_ids, char* to);

  int64_t max_blocks() const { return max_blocks_; }

 private:
  struct OrderedRow {
    const flow::Row* row = nullptr;
    int64_t first_token = 0;
  };

  absl::Status FillIds(const flow::Row& row, int32_t* ids) const;
  void FillPicks(const flow::StepPlan& plan, const InputOffsets& at, char* to) const;
  absl::Status FillScoreIds(const flow::StepPlan& plan, int32_t* ids) const;
  void FillTiles(const StepShape& shape, kernels::QueryTile* tiles) const;
  void FillPadding(const StepShape& shape, const InputOffsets& at, char* to) const;

  const spec::EngineLimits limits_;
  const int64_t max_blocks_;
  const SlotTable* const slots_;
  std::vector<OrderedRow> rows_;        // in the order of their tokens
  std::vector<int64_t> first_of_plan_;  // by index in the plan: the row's first token
};

}  // namespace pamir::model

#endif  // PAMIR_ENGINE_MODEL_CUDA_INPUTS_H_
