#include "parity/ops/attention_cases.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/units.h"

namespace pamir::parity {
namespace {

constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();

}  // namespace

Sequence MakeSequence(const AttentionShape& shape, int64_t length, uint64_t seed) {
  return {length, Random(length * 3 * shape.heads * shape.head_dim, seed, 3)};
}

AttentionRun::AttentionRun(const AttentionShape& shape, const std::vector<Sequence>& sequences,
                           uint64_t salt)
    : shape_(shape), sequences_(sequences) {
  for (const Sequence& sequence : sequences) {
    max_blocks_ = std::max(max_blocks_, CeilDiv(sequence.length, kernels::kKvBlockTokens));
  }
  ++max_blocks_;  // a column that no sequence uses
  num_blocks_ = max_blocks_ * static_cast<int64_t>(sequences.size()) + 3;
  std::vector<int32_t> order(num_blocks_);
  std::iota(order.begin(), order.end(), 0);
  for (int64_t i = num_blocks_ - 1; i > 0; --i) {
    std::swap(
        order[i],
        order[Philox4x32({static_cast<uint32_t>(i), 0, 0, 0}, {static_cast<uint32_t>(salt), 7})[0] %
              (i + 1)]);
  }
  int64_t next = 0;
  for (const Sequence& sequence : sequences) {
    std::vector<int32_t> table(max_blocks_, -1);  // unused entries must not be read
    for (int64_t b = 0; b < CeilDiv(sequence.length, kernels::kKvBlockTokens); ++b) {
      table[b] = order[next++];
    }
    tables_.push_back(table);
    outputs_.emplace_back(sequence.length * shape.heads * shape.head_dim, kPoison);
  }
  const int64_t floats =
      kernels::KvPlaneBytes(DType::kFloat32, num_blocks_, shape.heads, shape.head_dim) / 4;
  k_.assign(floats, kPoison);
  v_.assign(floats, kPoison);
}

AttentionRun::StepBuffers AttentionRun::Pack(const Step& step, int threads) const {
  const int64_t width = shape_.heads * shape_.head_dim;
  StepBuffers buffers;
  buffers.row_start.push_back(0);
  int64_t longest = 1;
  for (const Piece& piece : step) {
    const Sequence& sequence = sequences_[piece.index];
    for (int64_t p = piece.from; p < piece.from + piece.count; ++p) {
      buffers.positions.push_back(static_cast<int32_t>(p));
    }
    const auto from = sequence.qkv.begin() + piece.from * 3 * width;
    buffers.qkv.insert(buffers.qkv.end(), from, from + piece.count * 3 * width);
    buffers.row_start.push_back(static_cast<int32_t>(buffers.positions.size()));
    buffers.block_table.insert(buffers.block_table.end(), tables_[piece.index].begin(),
                               tables_[piece.index].end());
    longest = std::max(longest, piece.from + piece.count);
  }
  const int64_t tokens = static_cast<int64_t>(buffers.positions.size());
  buffers.out.assign(tokens * width, kPoison);
  buffers.scratch.resize(
      kernels::AttentionScratchBytes(tokens, longest, shape_.heads, shape_.head_dim, threads));
  return buffers;
}

kernels::AttentionArgs AttentionRun::Args(StepBuffers& buffers) {
  const int64_t width = shape_.heads * shape_.head_dim;
  kernels::AttentionArgs args;
  args.qkv = buffers.qkv.data();
  args.qkv_stride = 3 * width;
  args.scale = 1 / std::sqrt(static_cast<float>(shape_.head_dim));
  args.rows.tokens = static_cast<int64_t>(buffers.positions.size());
  args.rows.rows = static_cast<int64_t>(buffers.row_start.size()) - 1;
  args.rows.positions = buffers.positions.data();
  args.rows.row_start = buffers.row_start.data();
  args.rows.block_table = buffers.block_table.data();
  args.rows.max_blocks = max_blocks_;
  args.kv = {k_.data(), v_.data(), DType::kFloat32, num_blocks_, shape_.heads, shape_.head_dim};
  args.out = buffers.out.data();
  args.out_stride = width;
  args.scratch = buffers.scratch.data();
  return args;
}

void AttentionRun::Keep(const Step& step, const StepBuffers& buffers) {
  const int64_t width = shape_.heads * shape_.head_dim;
  auto from = buffers.out.begin();
  for (const Piece& piece : step) {
    std::copy_n(from, piece.count * width, outputs_[piece.index].begin() + piece.from * width);
    from += piece.count * width;
  }
}

void AttentionRun::Run(const KernelContext& context, const Step& step) {
  const int threads = context.pool != nullptr ? context.pool->threads() : 1;
  StepBuffers buffers = Pack(step, threads);
  const kernels::AttentionArgs args = Args(buffers);
  kernels::WriteKv(context, args);
  kernels::Attention(context, args);
  Keep(step, buffers);
}

void AttentionRun::RunOnePositionTooMany(const Step& step) {
  StepBuffers buffers = Pack(step, 1);
  for (int32_t& position : buffers.positions) ++position;
  kernels::AttentionReference(Args(buffers));
  Keep(step, buffers);
}

}  // namespace pamir::parity
