// Attention as plain loops, in the order that attention.h promises. On machines with FMA the vector
// code gives these bits.
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/attention/attention.h"
#include "kernels/simd/lanes.h"

namespace pamir::kernels {
namespace {

// The cache as one head of one row sees it: element d of the key or value at a position.
struct HeadView {
  const KvLayer& kv;
  const int32_t* table;
  int64_t head;

  int64_t Base(int64_t position) const {
    const int64_t block = table[position / kKvBlockTokens];
    return (block * kv.heads + head) * kv.head_dim * kKvBlockTokens;
  }
  int64_t KeyIndex(int64_t position, int64_t d) const {
    return Base(position) + d * kKvBlockTokens + position % kKvBlockTokens;
  }
  int64_t ValueIndex(int64_t position, int64_t d) const {
    return Base(position) + position % kKvBlockTokens * kv.head_dim + d;
  }
  float Key(int64_t position, int64_t d) const {
    return LoadAsFloat(kv.dtype, kv.k, KeyIndex(position, d));
  }
  float Value(int64_t position, int64_t d) const {
    return LoadAsFloat(kv.dtype, kv.v, ValueIndex(position, d));
  }
};

// Turns scores into weights exp(score - max), position j in lane j mod 16; returns 1 / their sum.
float Softmax(std::vector<float>& scores) {
  float max = -std::numeric_limits<float>::infinity();
  for (const float score : scores) max = score > max ? score : max;
  float lanes[kSumLanes] = {};
  for (size_t j = 0; j < scores.size(); ++j) {
    scores[j] = ExpNonPositive(scores[j] - max);
    lanes[j % kSumLanes] += scores[j];
  }
  return 1 / SumLanes(lanes);
}

void AttendOne(const AttentionArgs& args, const HeadView& view, int64_t token) {
  const int64_t head_dim = args.kv.head_dim;
  const int64_t positions = args.rows.positions[token] + 1;
  const float* q = args.qkv + token * args.qkv_stride + view.head * head_dim;
  float* out = args.out + token * args.out_stride + view.head * head_dim;

  std::vector<float> weights(positions);
  for (int64_t j = 0; j < positions; ++j) {
    float score = 0;
    for (int64_t d = 0; d < head_dim; ++d) {
      score = std::fma(q[d] * args.scale, view.Key(j, d), score);
    }
    weights[j] = score;
  }
  const float inverse = Softmax(weights);
  for (int64_t d = 0; d < head_dim; ++d) {
    float sum = 0;
    for (int64_t j = 0; j < positions; ++j) sum = std::fma(weights[j], view.Value(j, d), sum);
    out[d] = sum * inverse;
  }
}

}  // namespace

void WriteKvReference(const AttentionArgs& args) {
  const int64_t head_dim = args.kv.head_dim, width = args.kv.heads * head_dim;
  for (int64_t row = 0; row < args.rows.rows; ++row) {
    const int32_t* table = args.rows.block_table + row * args.rows.max_blocks;
    for (int64_t t = args.rows.row_start[row]; t < args.rows.row_start[row + 1]; ++t) {
      const int64_t position = args.rows.positions[t];
      const float* k = args.qkv + t * args.qkv_stride + width;
      for (int64_t i = 0; i < width; ++i) {
        const HeadView view{args.kv, table, i / head_dim};
        const int64_t d = i % head_dim;
        StoreFromFloat(args.kv.dtype, args.kv.k, view.KeyIndex(position, d), k[i]);
        StoreFromFloat(args.kv.dtype, args.kv.v, view.ValueIndex(position, d), k[width + i]);
      }
    }
  }
}

void AttentionReference(const AttentionArgs& args) {
  for (int64_t row = 0; row < args.rows.rows; ++row) {
    const int32_t* table = args.rows.block_table + row * args.rows.max_blocks;
    for (int64_t t = args.rows.row_start[row]; t < args.rows.row_start[row + 1]; ++t) {
      for (int64_t head = 0; head < args.kv.heads; ++head)
        AttendOne(args, {args.kv, table, head}, t);
    }
  }
}

}  // namespace pamir::kernels
