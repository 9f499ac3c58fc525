// How fast decode attention is, beside this card's read-only stream: a chain of layers in one
// graph, each the programmatic dependent of the one before, in a pool of memory so large that no
// layer is in the cache when its turn comes.
#ifndef PAMIR_TESTS_GPU_ATTENTION_ATTENTION_DECODE_TIMES_CUH_
#define PAMIR_TESTS_GPU_ATTENTION_ATTENTION_DECODE_TIMES_CUH_

#include <cuda_fp16.h>

#include <cmath>
#include <memory>
#include <vector>

#include "kernels/attention/attention_kernels.cuh"
#include "kernels/cuda/launch.cuh"
#include "support/gpu_test.cuh"

namespace pamir::gpu_test {

struct DecodeTiming {
  int head_dim, heads, rows, context;
  int context_max = 2048;  // that the graph could serve
  kernels::cuda::DecodeWay way = kernels::cuda::DecodeWay::kBest;
  int cluster = 0;
  bool dependent = true, write_kv = true;
  bool mixed = false;  // rows of 1 .. 2 context - 1, evenly
  bool fp8 = false;    // the cache
};

static __global__ void FillPool(half* to, size_t count) {
  const size_t stride = static_cast<size_t>(gridDim.x) * blockDim.x;
  for (size_t i = blockIdx.x * static_cast<size_t>(blockDim.x) + threadIdx.x; i < count;
       i += stride) {
    unsigned z = static_cast<unsigned>(i) * 747796405u + 2891336453u;
    z = ((z >> ((z >> 28) + 4)) ^ z) * 277803737u;
    to[i] = __float2half(static_cast<float>(z >> 16) / 32768.0f - 1.0f);
  }
}

static __global__ void DoNothing(int) {
  kernels::cuda::AwaitPrevious();
  kernels::cuda::AllowNext();
}

class DecodeTimer {
 public:
  DecodeTimer() : pool_(kPool), qkv_(kRows * kWidth), out_(kRows * kWidth), scratch_(64 << 20) {
    FillPool<<<4096, 256>>>(pool_.get(), pool_.size());
    FillPool<<<256, 256>>>(qkv_.get(), qkv_.size());
    scratch_.FillBytes(0);
    rate_ = ReadOnlyRate(pool_.get(), 4ull << 30);
    std::printf("read-only stream: %.3f TB/s\n", rate_ * 1e-12);
  }

  // What a launch costs that does nothing.
  static void Empty(bool dependent) {
    constexpr int kLaunches = 200;
    const double ms = TimeGraph([&](StreamRef stream) {
      kernels::cuda::Shape shape;
      shape.grid = dim3(132), shape.threads = 160, shape.dependent = dependent;
      for (int i = 0; i < kLaunches; ++i) {
        CUDA_CHECK(kernels::cuda::Launch(stream, shape, DoNothing, 0));
      }
    });
    std::printf("an empty kernel%s: %.2f us\n", dependent ? ", dependent" : "",
                ms * 1e3 / kLaunches);
  }

  void Time(const DecodeTiming& t, const char* note = "") {
    Prepare(t);
    const size_t halves =
        kernels::KvCudaPlaneBytes(blocks_, t.heads, t.head_dim, DType::kFloat16, t.fp8) / 2;
    const int layers = static_cast<int>(std::min<size_t>(kPool / (2 * halves), 100));
    const double ms = TimeGraph([&](StreamRef stream) {
      for (int layer = 0; layer < layers; ++layer) {
        kernels::AttentionCudaArgs args = Args(t, layer * 2 * halves, halves);
        args.dependent_launch = t.dependent && layer > 0;
        CUDA_CHECK(
            kernels::cuda::DecodeBy(t.way, t.cluster, args, 0, t.rows, t.context_max, stream));
      }
    });
    const double bytes = 2.0 * keys_ * t.heads * layers *
                         (t.fp8 ? t.head_dim + kernels::kKvFp8ScaleBytes : 2 * t.head_dim);
    std::printf(
        "%3d x %2d, batch %3d, context %4d%s%s: %8.2f us, %.3f TB/s, %.3f of the stream  %s\n",
        t.head_dim, t.heads, t.rows, t.context, t.mixed ? " (mixed)" : "", t.fp8 ? " fp8" : "",
        ms * 1e3 / layers, bytes / ms * 1e-9, bytes / (ms * 1e-3) / rate_, note);
  }

 private:
  static constexpr size_t kPool = 3ull << 30, kRows = 256, kWidth = 3 * 5120;

  // Blocks in a scattered order.
  void Prepare(const DecodeTiming& t) {
    std::vector<int32_t> positions, rows;
    keys_ = blocks_ = 0;
    max_blocks_ = (2 * t.context + 15) / 16;
    for (int r = 0; r < t.rows; ++r) {
      const int context =
          t.mixed ? 1 + static_cast<int>((r * 37ll % t.rows) * (2 * t.context - 2) / t.rows)
                  : t.context;
      positions.push_back(context - 1), rows.push_back(r);
      keys_ += context, blocks_ += (context + 15) / 16;
    }
    std::vector<int32_t> ids(blocks_), table(t.rows * max_blocks_);
    for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i);
    Random random(7);
    for (size_t i = ids.size() - 1; i > 0; --i) std::swap(ids[i], ids[random.Below(i + 1)]);
    size_t next = 0;
    for (int r = 0; r < t.rows; ++r) {
      for (int b = 0; b * 16 <= positions[r]; ++b) table[r * max_blocks_ + b] = ids[next++];
    }
    positions_ = std::make_unique<Buffer<int32_t>>(positions);
    rows_ = std::make_unique<Buffer<int32_t>>(rows);
    table_ = std::make_unique<Buffer<int32_t>>(table);
  }

  kernels::AttentionCudaArgs Args(const DecodeTiming& t, size_t at, size_t halves) {
    kernels::AttentionCudaArgs args;
    args.qkv = qkv_.get();
    args.qkv_stride = 3 * t.heads * t.head_dim;
    args.scale = 1 / std::sqrt(static_cast<float>(t.head_dim));
    args.positions = positions_->get(), args.token_row = rows_->get();
    args.block_table = table_->get(), args.max_blocks = max_blocks_;
    args.kv = {pool_.get() + at, pool_.get() + at + halves, t.heads, t.head_dim, t.fp8};
    args.out = out_.get(), args.out_stride = t.heads * t.head_dim;
    args.scratch = scratch_.get(), args.scratch_tokens = kRows;
    args.write_kv = t.write_kv;
    return args;
  }

  Buffer<half> pool_, qkv_, out_;
  Buffer<char> scratch_;
  std::unique_ptr<Buffer<int32_t>> positions_, rows_, table_;
  int64_t keys_ = 0, blocks_ = 0, max_blocks_ = 0;
  double rate_ = 0;
};

inline void DecodeTimes(bool hopper) {
  DecodeTimer timer;
  DecodeTimer::Empty(false);
  DecodeTimer::Empty(true);
  for (const auto& [dim, heads] : {std::pair{128, 40}, {64, 32}, {80, 32}, {64, 12}}) {
    for (const int context : {512, 2048}) {
      for (const int rows : {1, 8, 32, 64}) timer.Time({dim, heads, rows, context});
    }
    timer.Time({dim, heads, 32, 1024, 2048, {}, 0, true, true, true});
  }
  using kernels::cuda::DecodeWay;
  for (const auto& [dim, heads] : {std::pair{128, 40}, {64, 32}}) {
    timer.Time({dim, heads, 1, 512, 512}, "a grid for 512");
    timer.Time({dim, heads, 1, 512, 2048, {}, 0, true, false}, "written before");
    timer.Time({dim, heads, 1, 512, 2048, {}, 0, false}, "no dependent launch");
    if (!hopper) continue;
    timer.Time({dim, heads, 1, 512, 2048, DecodeWay::kMma}, "mma");
    timer.Time({dim, heads, 32, 512, 2048, DecodeWay::kMma}, "mma");
  }
}

}  // namespace pamir::gpu_test

#endif  // PAMIR_TESTS_GPU_ATTENTION_ATTENTION_DECODE_TIMES_CUH_
