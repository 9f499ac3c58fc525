// Attention of a tile of queries with vectors over the 16 positions of a block (scores) and over
// the dimensions of a head (values). Several queries share each load of K and V; each query has its
// own accumulators, so its bits do not depend on its neighbours.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention/attention_simd.cc"
#include "kernels/simd/targets.h"
//
#include "hwy/foreach_target.h"
#include "hwy/highway.h"
//
#include <limits>

#include "kernels/attention/attention_tile.h"
#include "kernels/simd/lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace pamir::kernels {
namespace HWY_NAMESPACE {

// Accumulators that fit the registers beside what they are fed from (32 vectors with AVX-512 and
// NEON, 16 with AVX2).
constexpr int kAccumulators = kLanes == 8 ? 8 : 16;
constexpr int kMaxQueries = kParts <= 4 ? 8 / kParts : 1;
constexpr int AtLeastOne(int n) { return n < 1 ? 1 : n; }

// One head's part of one row's cache.
struct HeadCache {
  const float* k = nullptr;
  const float* v = nullptr;
  const int32_t* table = nullptr;
  int64_t block_stride = 0;  // floats
  int64_t head_dim = 0;

  const float* Keys(int64_t block) const { return k + table[block] * block_stride; }
  const float* Values(int64_t block) const { return v + table[block] * block_stride; }
};

void ScaleQuery(const float* from, float scale, int64_t head_dim, float* to) {
  const F f;
  const Vec scale_v = hn::Set(f, scale);
  int64_t d = 0;
  for (; d + kLanes <= head_dim; d += kLanes) {
    hn::StoreU(hn::Mul(hn::LoadU(f, from + d), scale_v), f, to + d);
  }
  for (; d < head_dim; ++d) to[d] = from[d] * scale;
}

// Scores of Q queries against B blocks: one accumulator per (query, position), d ascending.
template <int Q, int B>
HWY_INLINE void ScoreBlocks(const HeadCache& cache, const TileScratch& scratch, int64_t block) {
  const F f;
  const float* keys[B];
  Vec sum[Q][B][kParts];
  PAMIR_UNROLL for (int b = 0; b < B; ++b) {
    keys[b] = cache.Keys(block + b);
    PAMIR_UNROLL for (int i = 0; i < Q; ++i) {
      PAMIR_UNROLL for (int p = 0; p < kParts; ++p) sum[i][b][p] = hn::Zero(f);
    }
  }
  for (int64_t d = 0; d < cache.head_dim; ++d) {
    PAMIR_UNROLL for (int b = 0; b < B; ++b) {
      const Lanes key = LoadLanes(keys[b] + d * kKvBlockTokens);
      PAMIR_UNROLL for (int i = 0; i < Q; ++i) {
        const Vec q = hn::Set(f, scratch.queries[i * cache.head_dim + d]);
        PAMIR_UNROLL for (int p = 0; p < kParts; ++p) {
          sum[i][b][p] = hn::MulAdd(q, key.part[p], sum[i][b][p]);
        }
      }
    }
  }
  PAMIR_UNROLL for (int i = 0; i < Q; ++i) {
    float* to = scratch.scores + i * scratch.score_stride + block * kKvBlockTokens;
    PAMIR_UNROLL for (int b = 0; b < B; ++b) {
      PAMIR_UNROLL for (int p = 0; p < kParts; ++p) {
        hn::StoreU(sum[i][b][p], f, to + b * kKvBlockTokens + p * kLanes);
      }
    }
  }
}

// Scores of positions 0 .. positions - 1 and of what follows in the last block, which is masked
// later.
template <int Q>
void Score(const HeadCache& cache, const TileScratch& scratch, int64_t positions) {
  constexpr int kBlocks = AtLeastOne(8 / (Q * kParts));  // enough sums to hide the latency of FMA
  const int64_t blocks = CeilDiv(positions, kKvBlockTokens);
  int64_t block = 0;
  for (; block + kBlocks <= blocks; block += kBlocks)
    ScoreBlocks<Q, kBlocks>(cache, scratch, block);
  for (; block < blocks; ++block) ScoreBlocks<Q, 1>(cache, scratch, block);
}

// Turns scores into exp(score - max); what lies beyond `positions` in the last block becomes an
// exact 0, whatever it was. Returns 1 / sum.
float Softmax(float* scores, int64_t positions) {
  const F f;
  const int64_t padded = RoundUp(positions, kKvBlockTokens);
  for (int64_t j = positions; j < padded; ++j) scores[j] = -std::numeric_limits<float>::infinity();
  Lanes max_lanes = LoadLanes(scores);
  for (int64_t j = 16; j < padded; j += 16) MaxWith(max_lanes, LoadLanes(scores + j));
  const Vec max = hn::Set(f, Max(max_lanes)), one = hn::Set(f, 1.0f);
  Lanes sum = SetLanes(0);
  for (int64_t j = 0; j < padded; j += 16) {
    const Lanes weights = ExpLanes(LoadLanes(scores + j), max, one);
    StoreLanes(weights, scores + j);
    AddTo(sum, weights);
  }
  return 1 / Sum(sum);
}

// The tile's outputs, unnormalised until the end.
struct ValueJob {
  int64_t first = 0;                // position of the tile's first query; query i is at first + i
  float inverse[kMaxQueries] = {};  // 1 / sum of weights
  float* out = nullptr;
  int64_t out_stride = 0;
};

// Outputs dim .. dim + U vectors - 1 of Q queries: one accumulator each, positions ascending. All
// queries see positions 0 .. first; query i alone goes on to first + i. What lies beyond is never
// multiplied: it may be NaN.
template <int Q, int U, class D>
HWY_INLINE void SumValues(D d, const HeadCache& cache, const TileScratch& scratch,
                          const ValueJob& job, int64_t dim) {
  constexpr int kN = static_cast<int>(hn::MaxLanes(D()));
  const float* weights = scratch.scores;
  hn::Vec<D> sum[Q][U];
  PAMIR_UNROLL for (int i = 0; i < Q; ++i) {
    PAMIR_UNROLL for (int u = 0; u < U; ++u) sum[i][u] = hn::Zero(d);
  }
  for (int64_t begin = 0; begin <= job.first; begin += kKvBlockTokens) {
    const float* values = cache.Values(begin / kKvBlockTokens) + dim;
    const int64_t end = std::min(begin + kKvBlockTokens, job.first + 1);
    for (int64_t j = begin; j < end; ++j, values += cache.head_dim) {
      hn::Vec<D> value[U];
      PAMIR_UNROLL for (int u = 0; u < U; ++u) value[u] = hn::LoadU(d, values + u * kN);
      PAMIR_UNROLL for (int i = 0; i < Q; ++i) {
        const auto w = hn::Set(d, weights[i * scratch.score_stride + j]);
        PAMIR_UNROLL for (int u = 0; u < U; ++u) sum[i][u] = hn::MulAdd(w, value[u], sum[i][u]);
      }
    }
  }
  PAMIR_UNROLL for (int t = 1; t < Q; ++t) {
    const int64_t j = job.first + t;
    const float* values = cache.Values(j / kKvBlockTokens) + j % kKvBlockTokens * cache.head_dim;
    PAMIR_UNROLL for (int i = t; i < Q; ++i) {
      const auto w = hn::Set(d, weights[i * scratch.score_stride + j]);
      PAMIR_UNROLL for (int u = 0; u < U; ++u) {
        sum[i][u] = hn::MulAdd(w, hn::LoadU(d, values + dim + u * kN), sum[i][u]);
      }
    }
  }
  PAMIR_UNROLL for (int i = 0; i < Q; ++i) {
    const auto inverse = hn::Set(d, job.inverse[i]);
    PAMIR_UNROLL for (int u = 0; u < U; ++u) {
      hn::StoreU(hn::Mul(sum[i][u], inverse), d, job.out + i * job.out_stride + dim + u * kN);
    }
  }
}

template <int Q>
void AttendQueries(const AttentionArgs& args, const AttentionTile& tile, const HeadCache& cache,
                   const TileScratch& scratch, int64_t token) {
  const int64_t head_dim = cache.head_dim, column = tile.head * head_dim;
  ValueJob job;
  job.first = args.rows.positions[token];
  job.out = args.out + token * args.out_stride + column;
  job.out_stride = args.out_stride;
  for (int i = 0; i < Q; ++i) {
    ScaleQuery(args.qkv + (token + i) * args.qkv_stride + column, args.scale, head_dim,
               scratch.queries + i * head_dim);
  }
  Score<Q>(cache, scratch, job.first + Q);
  for (int i = 0; i < Q; ++i) {
    job.inverse[i] = Softmax(scratch.scores + i * scratch.score_stride, job.first + i + 1);
  }
  constexpr int kWide = kAccumulators / Q < 4 ? AtLeastOne(kAccumulators / Q) : 4;
  int64_t dim = 0;
  for (; dim + kWide * kLanes <= head_dim; dim += kWide * kLanes) {
    SumValues<Q, kWide>(F(), cache, scratch, job, dim);
  }
  for (; dim + kLanes <= head_dim; dim += kLanes) SumValues<Q, 1>(F(), cache, scratch, job, dim);
  for (; dim < head_dim; ++dim) SumValues<Q, 1>(One(), cache, scratch, job, dim);
}

void AttendTile(const AttentionArgs& args, const AttentionTile& tile, const TileScratch& scratch) {
  const KvLayer& kv = args.kv;
  const int64_t head_floats = kv.head_dim * kKvBlockTokens;
  HeadCache cache;
  cache.k = static_cast<const float*>(kv.k) + tile.head * head_floats;
  cache.v = static_cast<const float*>(kv.v) + tile.head * head_floats;
  cache.table = args.rows.block_table + tile.row * args.rows.max_blocks;
  cache.block_stride = kv.heads * head_floats;
  cache.head_dim = kv.head_dim;

  constexpr int kHalf = AtLeastOne(kMaxQueries / 2), kQuarter = AtLeastOne(kMaxQueries / 4);
  int64_t token = tile.begin;
  for (; token + kMaxQueries <= tile.end; token += kMaxQueries) {
    AttendQueries<kMaxQueries>(args, tile, cache, scratch, token);
  }
  for (; token + kHalf <= tile.end; token += kHalf) {
    AttendQueries<kHalf>(args, tile, cache, scratch, token);
  }
  for (; token + kQuarter <= tile.end; token += kQuarter) {
    AttendQueries<kQuarter>(args, tile, cache, scratch, token);
  }
  for (; token < tile.end; ++token) AttendQueries<1>(args, tile, cache, scratch, token);
}

}  // namespace HWY_NAMESPACE
}  // namespace pamir::kernels
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace pamir::kernels {

HWY_EXPORT(AttendTile);

void AttendTile(const AttentionArgs& args, const AttentionTile& tile, const TileScratch& scratch) {
  HWY_DYNAMIC_DISPATCH(AttendTile)(args, tile, scratch);
}

}  // namespace pamir::kernels
#endif  // HWY_ONCE
