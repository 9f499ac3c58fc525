// How fast attention is, beside this card's read-only stream.
#ifndef PAMIR_TESTS_GPU_ATTENTION_ATTENTION_TIMES_CUH_
#define PAMIR_TESTS_GPU_ATTENTION_ATTENTION_TIMES_CUH_

#include <cuda_fp16.h>

#include <cmath>
#include <functional>
#include <vector>

#include "kernels/attention/attention_cuda.h"
#include "support/gpu_test.cuh"

namespace pamir::gpu_test {

using kernels::AttentionCudaArgs;

static __global__ void FillHalves(half* to, size_t count) {
  const size_t stride = static_cast<size_t>(gridDim.x) * blockDim.x;
  for (size_t i = blockIdx.x * static_cast<size_t>(blockDim.x) + threadIdx.x; i < count;
       i += stride) {
    unsigned z = static_cast<unsigned>(i) * 747796405u + 2891336453u;
    z = ((z >> ((z >> 28) + 4)) ^ z) * 277803737u;
    to[i] = __float2half(static_cast<float>(z >> 16) / 32768.0f - 1.0f);
  }
}

struct TimedBatch {
  int head_dim, heads, rows, context, tokens_each;
};

// Memory for any of the batches: a pool that is cut into layers, so that no layer is in the cache
// when its turn comes.
class TimedAttention {
 public:
  static constexpr size_t kPoolHalves = 3ull << 30;  // 6 GiB

  TimedAttention()
      : pool_(kPoolHalves),
        qkv_(kTokens * kWidth),
        out_(kTokens * kWidth),
        scratch_(512 << 20),
        positions_(kTokens),
        rows_(kTokens),
        table_(kTokens) {
    FillHalves<<<4096, 256>>>(pool_.get(), pool_.size());
    FillHalves<<<1024, 256>>>(qkv_.get(), qkv_.size());
    scratch_.FillBytes(0);
    rate_ = ReadOnlyRate(pool_.get(), 4ull << 30);
    std::printf("read-only stream: %.3f TB/s\n", rate_ * 1e-12);
  }

  void Decode(const TimedBatch& b) {
    Prepare(b);
    const size_t halves = kernels::KvCudaPlaneBytes(Blocks(b), b.heads, b.head_dim) / 2;
    const int layers = static_cast<int>(std::min<size_t>(kPoolHalves / (2 * halves), 40));
    const double ms = TimeGraph([&](StreamRef stream) {
      for (int layer = 0; layer < layers; ++layer) {
        AttentionCudaArgs args = Args(b, layer * 2 * halves, halves);
        args.dependent_launch = layer > 0;
        CUDA_CHECK(kernels::DecodeAttentionCuda(args, 0, b.rows, b.context, stream));
      }
    });
    const double bytes = 4.0 * b.rows * b.context * b.heads * b.head_dim * layers;
    std::printf(
        "decode  head dim %3d x %2d heads, batch %3d, context %4d: %8.2f us a layer, "
        "%.3f TB/s, %.3f of the stream\n",
        b.head_dim, b.heads, b.rows, b.context, ms * 1e3 / layers, bytes / ms * 1e-9,
        bytes / (ms * 1e-3) / rate_);
  }

  using Prefiller = std::function<int(const AttentionCudaArgs&, const kernels::QueryTile*,
                                      int64_t tiles, int64_t context_max, StreamRef)>;

  // The last tokens_each tokens of each row, causal; the operations counted are those of the keys
  // before each.
  void Prefill(const TimedBatch& b, const char* name, const Prefiller& prefill) {
    Prepare(b);
    const size_t halves = kernels::KvCudaPlaneBytes(Blocks(b), b.heads, b.head_dim) / 2;
    std::vector<kernels::QueryTile> list;
    for (int at = (b.tokens_each - 1) / 128 * 128; at >= 0; at -= 128) {
      const int count = std::min(128, b.tokens_each - at);
      for (int r = 0; r < b.rows; ++r) list.push_back({r * b.tokens_each + at, count});
    }
    const Buffer<kernels::QueryTile> tiles(list);
    const double ms = TimeGraph([&](StreamRef stream) {
      CUDA_CHECK(prefill(Args(b, 0, halves), tiles.get(), tiles.size(), b.context, stream));
    });
    const double keys = b.tokens_each * (b.context - b.tokens_each / 2.0);
    const double flops = 4.0 * b.rows * keys * b.heads * b.head_dim;
    std::printf(
        "prefill head dim %3d x %2d heads, %2d x %4d behind %4d, %-24s: %8.1f us, %4.0f TFLOP/s\n",
        b.head_dim, b.heads, b.rows, b.tokens_each, b.context - b.tokens_each, name, ms * 1e3,
        flops / ms * 1e-9);
  }

  void Prefill(const TimedBatch& b, kernels::PrefillWay way, const char* name) {
    Prefill(b, name,
            [way](const AttentionCudaArgs& args, const kernels::QueryTile* tiles, int64_t count,
                  int64_t context_max, StreamRef stream) {
              return kernels::PrefillAttentionCuda(args, tiles, count, context_max, stream, way);
            });
  }

  void Write(const TimedBatch& b) {
    Prepare(b);
    const size_t halves = kernels::KvCudaPlaneBytes(Blocks(b), b.heads, b.head_dim) / 2;
    const int64_t tokens = static_cast<int64_t>(b.rows) * b.tokens_each;
    const double ms = TimeGraph([&](StreamRef stream) {
      CUDA_CHECK(kernels::WriteKvCuda(Args(b, 0, halves), tokens, stream));
    });
    std::printf("write   head dim %3d x %2d heads, %lld tokens: %.2f us\n", b.head_dim, b.heads,
                static_cast<long long>(tokens), ms * 1e3);
  }

 private:
  static constexpr size_t kTokens = 8192, kWidth = 3 * 5120;

  static int64_t Blocks(const TimedBatch& b) {
    return static_cast<int64_t>(b.rows) * ((b.context + 15) / 16);
  }

  // Blocks in a scattered order; decode rows stand at their last position.
  void Prepare(const TimedBatch& b) {
    std::vector<int32_t> positions, rows, table(Blocks(b));
    for (int r = 0; r < b.rows; ++r) {
      for (int i = 0; i < b.tokens_each; ++i) {
        positions.push_back(b.context - b.tokens_each + i), rows.push_back(r);
      }
    }
    for (size_t i = 0; i < table.size(); ++i) table[i] = static_cast<int32_t>(i);
    Random random(7);
    for (size_t i = table.size() - 1; i > 0; --i) std::swap(table[i], table[random.Below(i + 1)]);
    positions_.Set(positions), rows_.Set(rows), table_.Set(table);
  }

  AttentionCudaArgs Args(const TimedBatch& b, size_t at, size_t halves) {
    AttentionCudaArgs args;
    args.qkv = qkv_.get();
    args.qkv_stride = 3 * b.heads * b.head_dim;
    args.scale = 1 / std::sqrt(static_cast<float>(b.head_dim));
    args.positions = positions_.get(), args.token_row = rows_.get();
    args.block_table = table_.get(), args.max_blocks = (b.context + 15) / 16;
    args.kv = {pool_.get() + at, pool_.get() + at + halves, b.heads, b.head_dim};
    args.out = out_.get(), args.out_stride = b.heads * b.head_dim;
    args.scratch = scratch_.get(), args.scratch_tokens = 128;
    args.kv_tokens = static_cast<int64_t>(b.rows) * b.context;
    return args;
  }

  Buffer<half> pool_, qkv_, out_;
  Buffer<char> scratch_;
  Buffer<int32_t> positions_, rows_, table_;
  double rate_ = 0;
};

inline void AttentionTimes() {
  TimedAttention timed;
  for (const auto& [dim, heads] : {std::pair{128, 40}, {64, 32}, {80, 32}}) {
    for (const int context : {512, 1024, 2048}) {
      for (const int rows : {1, 8, 32, 64, 128}) {
        if (rows == 128 && context > 512) continue;
        timed.Decode({dim, heads, rows, context, 1});
      }
    }
  }
  for (const auto& [dim, heads] : {std::pair{64, 32}, {80, 32}, {128, 40}}) {
    const TimedBatch batch = {dim, heads, 4, 2048, 2048};
    timed.Prefill(batch, kernels::PrefillWay::kMma, "mma");
    timed.Prefill(batch, kernels::PrefillWay::kWgmma, "wgmma");
  }
  for (const auto& [dim, heads] : {std::pair{64, 32}, {128, 40}}) {
    timed.Prefill({dim, heads, 1, 2048, 2048}, kernels::PrefillWay::kWgmma, "wgmma");
    timed.Prefill({dim, heads, 4, 2048, 512}, kernels::PrefillWay::kWgmma, "wgmma");
    timed.Prefill({dim, heads, 1, 512, 512}, kernels::PrefillWay::kWgmma, "wgmma");
    timed.Prefill({dim, heads, 64, 100, 100}, kernels::PrefillWay::kWgmma, "wgmma");
  }
  timed.Write({128, 40, 1, 512, 1});
  timed.Write({128, 40, 64, 512, 1});
  timed.Write({128, 40, 4, 2048, 2048});
}

}  // namespace pamir::gpu_test

#endif  // PAMIR_TESTS_GPU_ATTENTION_ATTENTION_TIMES_CUH_
