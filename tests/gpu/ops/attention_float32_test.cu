// Float32 attention against a reference in double, and every way of computing a token against every
// other, bit for bit.
#include <cmath>
#include <memory>
#include <numeric>

#include "kernels/attention/attention_cuda.h"
#include "ops/ops_test.cuh"

namespace pamir::gpu_test {
namespace {

using kernels::AttentionCudaArgs;
using kernels::kKvCudaBlock;
using kernels::QueryTile;

// Rows of tokens with random q, k and v, in one batch, and their cache.
class Batch {
 public:
  Batch(int head_dim, int heads, const std::vector<int>& lengths)
      : dim_(head_dim), heads_(heads), lengths_(lengths), width_(heads * head_dim) {
    stride_ = (3 * width_ + 7) / 8 * 8;
    for (size_t r = 0; r < lengths.size(); ++r) {
      starts_.push_back(tokens());
      for (int p = 0; p < lengths[r]; ++p) {
        positions_host_.push_back(p), rows_host_.push_back(static_cast<int>(r));
      }
      longest_ = std::max(longest_, lengths[r]), blocks_ += (lengths[r] + 15) / kKvCudaBlock;
    }
    host_ = RandomFloats(tokens() * stride_, head_dim, 1.5f);
    max_blocks_ = (longest_ + 15) / kKvCudaBlock + 2;
    qkv_.Set(host_), positions_.Set(positions_host_), rows_.Set(rows_host_);
    table_.Set(MakeTable()), cache_.Set(std::vector<float>(2 * PlaneSize(), NAN));
    out_.Set(std::vector<float>(tokens() * width_, NAN));
  }

  int tokens() const { return static_cast<int>(positions_host_.size()); }
  int longest() const { return longest_; }
  int start(int row) const { return starts_[row]; }
  const std::vector<int>& lengths() const { return lengths_; }
  void Poison() {
    cache_.Set(std::vector<float>(2 * PlaneSize(), NAN));
    out_.Set(std::vector<float>(tokens() * width_, NAN));
  }
  std::vector<float> Output() const { return out_.Get(); }

  AttentionCudaArgs Args(int first = 0) const {
    AttentionCudaArgs args;
    args.type = args.out_type = DType::kFloat32;
    args.qkv = qkv_.get() + first * stride_, args.qkv_stride = stride_;
    args.scale = 1 / std::sqrt(static_cast<float>(dim_));
    args.positions = positions_.get() + first, args.token_row = rows_.get() + first;
    args.block_table = table_.get(), args.max_blocks = max_blocks_;
    args.kv.k = cache_.get(), args.kv.v = cache_.get() + PlaneSize();
    args.kv.heads = heads_, args.kv.head_dim = dim_;
    args.out = out_.get() + first * width_, args.out_stride = width_;
    return args;
  }

  std::vector<QueryTile> Tiles(int size) const {
    std::vector<QueryTile> tiles;
    for (size_t r = 0; r < lengths_.size(); ++r) {
      for (int at = 0; at < lengths_[r]; at += size) {
        tiles.push_back({starts_[r] + at, std::min(size, lengths_[r] - at)});
      }
    }
    return tiles;
  }

  // Relative error of the outputs, the worst of all heads; the broken twin sees a key less.
  double Error(const std::vector<float>& got, int keys_off) const {
    double worst = 0;
    for (int t = 0; t < tokens(); t += 1 + tokens() / 97) {
      const int keys = positions_host_[t] + 1 - keys_off;
      for (int head = 0; keys > 0 && head < heads_; ++head) {
        const std::vector<double> exact = Reference(t, head, keys);
        double error = 0, norm = 0;
        for (int d = 0; d < dim_; ++d) {
          const double e = got[t * width_ + head * dim_ + d] - exact[d];
          error += e * e, norm += exact[d] * exact[d];
        }
        const double relative = std::sqrt(error / norm);
        if (!(relative <= worst)) worst = relative;
      }
    }
    return worst;
  }

 private:
  // A buffer whose size is known late.
  template <typename T>
  class Late {
   public:
    void Set(const std::vector<T>& from) {
      if (buffer_ == nullptr) buffer_ = std::make_unique<Buffer<T>>(from.size());
      buffer_->Set(from);
    }
    T* get() const { return buffer_->get(); }
    std::vector<T> Get() const { return buffer_->Get(); }

   private:
    std::unique_ptr<Buffer<T>> buffer_;
  };

  int64_t PlaneSize() const { return int64_t{blocks_} * kKvCudaBlock * width_; }

  // Blocks in random order; entries behind a row's end must not be followed.
  std::vector<int32_t> MakeTable() const {
    Random random(77);
    std::vector<int32_t> ids(blocks_), table(max_blocks_ * lengths_.size(), 0x7ffffff0);
    std::iota(ids.begin(), ids.end(), 0);
    for (int i = blocks_ - 1; i > 0; --i) std::swap(ids[i], ids[random.Below(i + 1)]);
    int next = 0;
    for (size_t r = 0; r < lengths_.size(); ++r) {
      for (int b = 0; b * kKvCudaBlock < lengths_[r]; ++b) {
        table[r * max_blocks_ + b] = ids[next++];
      }
    }
    return table;
  }

  std::vector<double> Reference(int token, int head, int keys) const {
    const int first = starts_[rows_host_[token]];
    const auto at = [&](int t, int part) {
      return &host_[t * stride_ + part * width_ + head * dim_];
    };
    std::vector<double> p(keys), out(dim_, 0.0);
    double max = -1e300, sum = 0;
    for (int j = 0; j < keys; ++j) {
      for (int d = 0; d < dim_; ++d) {
        p[j] += static_cast<double>(at(token, 0)[d]) * at(first + j, 1)[d];
      }
      p[j] /= std::sqrt(static_cast<double>(dim_)), max = std::max(max, p[j]);
    }
    for (int j = 0; j < keys; ++j) {
      p[j] = std::exp(p[j] - max), sum += p[j];
      for (int d = 0; d < dim_; ++d) out[d] += p[j] * at(first + j, 2)[d];
    }
    for (double& x : out) x /= sum;
    return out;
  }

  int dim_, heads_, longest_ = 0, blocks_ = 0;
  std::vector<int> lengths_, starts_;
  int64_t width_, stride_ = 0, max_blocks_ = 0;
  std::vector<float> host_;
  std::vector<int32_t> positions_host_, rows_host_;
  Late<float> qkv_, cache_, out_;
  Late<int32_t> positions_, rows_, table_;
};

std::vector<float> ByDecode(Batch& b) {
  b.Poison();
  CUDA_CHECK(kernels::WriteKvCuda(b.Args(), b.tokens(), {}));
  CUDA_CHECK(kernels::DecodeAttentionCuda(b.Args(), 0, b.tokens(), b.longest(), {}));
  return b.Output();
}

std::vector<float> ByPrefill(Batch& b, int size) {
  b.Poison();
  const Buffer<QueryTile> tiles(b.Tiles(size));
  const auto count = static_cast<int64_t>(tiles.size());
  CUDA_CHECK(kernels::WriteKvCuda(b.Args(), b.tokens(), {}));
  CUDA_CHECK(kernels::PrefillAttentionCuda(b.Args(), tiles.get(), count, b.longest(), {}));
  return b.Output();
}

// As chunks come: each is written, then computed, while the cache behind it is still NaN.
std::vector<float> ByChunks(Batch& b, const std::vector<int>& sizes) {
  b.Poison();
  for (size_t row = 0; row < b.lengths().size(); ++row) {
    int at = 0;
    for (size_t i = 0; at < b.lengths()[row]; ++i) {
      const int count = std::min(sizes[i % sizes.size()], b.lengths()[row] - at);
      AttentionCudaArgs args = b.Args(b.start(static_cast<int>(row)) + at);
      args.write_kv = count == 1;
      if (!args.write_kv) CUDA_CHECK(kernels::WriteKvCuda(args, count, {}));
      if (args.write_kv) {
        CUDA_CHECK(kernels::DecodeAttentionCuda(args, 0, 1, at + 1, {}));
      } else {
        const Buffer<QueryTile> tile(std::vector<QueryTile>{{0, count}});
        CUDA_CHECK(kernels::PrefillAttentionCuda(args, tile.get(), 1, at + count, {}));
        CUDA_CHECK(cudaDeviceSynchronize());
      }
      at += count;
    }
  }
  return b.Output();
}

}  // namespace

void CheckAttentionFloat32(Verdicts& verdicts, bool tiny) {
  constexpr double kTolerance = 5e-6;
  std::vector<int> lengths = {1, 15, 16, 17, 63, 64, 65, 300};
  if (tiny) lengths = {1, 17, 66};
  for (const int dim : tiny ? std::vector{64, 5} : std::vector{64, 80, 128, 5, 36, 256}) {
    Batch b(dim, 3, lengths);
    const std::string name = "float32 attention, head dim " + std::to_string(dim) + ": ";
    const std::vector<float> decode = ByDecode(b);
    verdicts.Row(name + "relative error", b.Error(decode, 0), kTolerance);
    verdicts.Row(name + "one key missing", b.Error(decode, 1), kTolerance, false);
    verdicts.Row(name + "bits, prefill", Differences(decode, ByPrefill(b, 128)), 0);
    verdicts.Row(name + "bits, tiles of 37", Differences(decode, ByPrefill(b, 37)), 0);
    verdicts.Row(name + "bits, chunks into a NaN cache",
                 Differences(decode, ByChunks(b, {100, 1, 37, 1, 5})), 0);
  }
}

void TimeAttentionFloat32() {
  struct Shape {
    int dim, heads, length;
  };
  for (const Shape& s : {Shape{64, 32, 512}, {64, 12, 2048}, {128, 40, 2048}}) {
    const Batch b(s.dim, s.heads, {s.length});
    const Buffer<QueryTile> tiles(b.Tiles(128));
    const auto count = static_cast<int64_t>(tiles.size());
    const double prefill = TimeGraph([&](StreamRef stream) {
      CUDA_CHECK(kernels::WriteKvCuda(b.Args(), b.tokens(), stream));
      CUDA_CHECK(kernels::PrefillAttentionCuda(b.Args(), tiles.get(), count, s.length, stream));
    });
    const double decode = TimeGraph([&](StreamRef stream) {
      CUDA_CHECK(kernels::DecodeAttentionCuda(b.Args(s.length - 1), 0, 1, s.length, stream));
    });
    std::printf(
        "float32 attention, %d heads of %d, %d tokens: prompt %.3f ms, last token %.1f us\n",
        s.heads, s.dim, s.length, prefill, decode * 1e3);
  }
}

}  // namespace pamir::gpu_test
