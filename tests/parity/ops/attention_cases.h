// Sequences with made-up q, k and v, and a cache whose unwritten memory is NaN.
#ifndef PAMIR_TESTS_PARITY_OPS_ATTENTION_CASES_H_
#define PAMIR_TESTS_PARITY_OPS_ATTENTION_CASES_H_

#include <cstdint>
#include <vector>

#include "kernels/attention/attention.h"
#include "parity/ops/parity.h"

namespace pamir::parity {

struct AttentionShape {
  int64_t heads;
  int64_t head_dim;
};

// One sequence: qkv of each of its tokens, as the qkv product would give them.
struct Sequence {
  int64_t length;
  std::vector<float> qkv;  // [length][3 * heads * head_dim]
};
Sequence MakeSequence(const AttentionShape& shape, int64_t length, uint64_t seed);

// Positions from .. from + count - 1 of sequence `index`, as one row of a step.
struct Piece {
  int index;
  int64_t from;
  int64_t count;
};
using Step = std::vector<Piece>;

// A pool of blocks, NaN until written, and which of them each sequence has. `salt` changes the
// order in which blocks are handed out.
class AttentionRun {
 public:
  AttentionRun(const AttentionShape& shape, const std::vector<Sequence>& sequences, uint64_t salt);

  // Writes the step's keys and values, then attends; outputs are kept per sequence and position.
  void Run(const KernelContext& context, const Step& step);

  // The broken twin: attends again, by the reference, with every query one position too far.
  void RunOnePositionTooMany(const Step& step);

  // [length][heads * head_dim]
  const std::vector<float>& out(int index) const { return outputs_[index]; }

 private:
  struct StepBuffers {
    std::vector<int32_t> positions, row_start;
    std::vector<int32_t> block_table;
    std::vector<float> qkv, out;
    std::vector<char> scratch;
  };
  StepBuffers Pack(const Step& step, int threads) const;
  kernels::AttentionArgs Args(StepBuffers& buffers);
  void Keep(const Step& step, const StepBuffers& buffers);

  const AttentionShape shape_;
  const std::vector<Sequence>& sequences_;
  int64_t max_blocks_ = 0;
  std::vector<std::vector<int32_t>> tables_;  // of each sequence
  int64_t num_blocks_ = 0;
  std::vector<float> k_, v_;
  std::vector<std::vector<float>> outputs_;
};

}  // namespace pamir::parity

#endif  // PAMIR_TESTS_PARITY_OPS_ATTENTION_CASES_H_
