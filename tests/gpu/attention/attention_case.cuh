// Sequences with random q, k and v in one batch, their cache, and what is computed from them.
#ifndef PAMIR_TESTS_GPU_ATTENTION_ATTENTION_CASE_CUH_
#define PAMIR_TESTS_GPU_ATTENTION_ATTENTION_CASE_CUH_

#include <cuda_fp16.h>

#include <cmath>
#include <memory>
#include <numeric>
#include <vector>

#include "kernels/attention/attention_cuda.h"
#include "kernels/attention/attention_kernels.cuh"
#include "support/gpu_test.cuh"

namespace pamir::gpu_test {

using kernels::AttentionCudaArgs;
using kernels::QueryTile;

struct CaseShape {
  int head_dim;
  int heads;
  std::vector<int> lengths;  // of the sequences
  bool loud = false;         // values grow by powers of two within a tile: what is masked is huge
  int first = 0;             // the token computed first; those before it are only keys and values
};

class AttentionCase {
 public:
  static constexpr int kSmallestTile = 37;  // of Tiles(), for which the scratch has room

  explicit AttentionCase(const CaseShape& shape) : shape_(shape) {
    Random random(shape.head_dim * 31 + static_cast<int>(shape.lengths.size()));
    width_ = shape.heads * shape.head_dim;
    stride_ = (3 * width_ + 7) / 8 * 8;
    int blocks = 0;
    for (const int n : shape.lengths) {
      row_start_.push_back(tokens_);
      tokens_ += n, blocks += (n + 15) / 16, longest_ = std::max(longest_, n);
    }
    blocks_ = blocks + 3;
    FillInputs(random);
    FillTable(random);
    out_ = std::make_unique<Buffer<half>>(static_cast<size_t>(tokens_) * width_);
    planes_ = kernels::KvCudaPlaneBytes(blocks_, shape.heads, shape.head_dim) / 2;
    k_ = std::make_unique<Buffer<uint16_t>>(planes_);
    v_ = std::make_unique<Buffer<uint16_t>>(planes_);
    const int64_t room = static_cast<int64_t>(Tiles(kSmallestTile).size()) * kernels::kTileQueries;
    const int64_t bytes =
        kernels::AttentionCudaScratchBytes(room, longest_, shape.heads, shape.head_dim);
    scratch_ = std::make_unique<Buffer<char>>(bytes);
    scratch_->FillBytes(0);
    args_.scratch_tokens = room;
    PoisonCache();
  }

  int tokens() const { return tokens_; }
  int longest() const { return longest_; }
  int first() const { return shape_.first; }
  int computed() const { return tokens_ - shape_.first; }
  int row_start(int row) const { return row_start_[row]; }
  // The row's first position that is computed.
  int row_begin(int row) const {
    return std::clamp(shape_.first - row_start_[row], 0, shape_.lengths[row]);
  }
  const CaseShape& shape() const { return shape_; }

  // One element of q, k and v of a token.
  void SetInput(int token, int64_t index, half value) {
    host_[token * stride_ + index] = value;
    qkv_->Set(host_);
  }
  const std::vector<half>& input() const { return host_; }
  int64_t stride() const { return stride_; }
  int64_t width() const { return width_; }

  // Keys, then values.
  std::vector<uint16_t> Cache() const {
    std::vector<uint16_t> cache = k_->Get();
    const std::vector<uint16_t> values = v_->Get();
    cache.insert(cache.end(), values.begin(), values.end());
    return cache;
  }
  void PoisonCache() { k_->FillBytes(0xff), v_->FillBytes(0xff); }  // NaN
  void PoisonOutput() { out_->FillBytes(0xff); }
  std::vector<uint16_t> Output() const {
    const std::vector<half> out = out_->Get();
    std::vector<uint16_t> bits(out.size());
    std::memcpy(bits.data(), out.data(), bits.size() * 2);
    return bits;
  }

  // Arguments whose token 0 is `first`.
  AttentionCudaArgs Args(int first = 0) const {
    AttentionCudaArgs args = args_;
    args.qkv = qkv_->get() + static_cast<int64_t>(first) * stride_;
    args.qkv_stride = stride_;
    args.scale = 1 / std::sqrt(static_cast<float>(shape_.head_dim));
    args.positions = positions_->get() + first;
    args.token_row = token_row_->get() + first;
    args.block_table = table_->get();
    args.max_blocks = max_blocks_;
    args.kv = {k_->get(), v_->get(), shape_.heads, shape_.head_dim};
    args.out = out_->get() + static_cast<int64_t>(first) * width_;
    args.out_stride = width_;
    args.scratch = scratch_->get();
    return args;
  }

  // What is computed cut into tiles of `size`, the longest contexts first.
  std::vector<QueryTile> Tiles(int size) const {
    std::vector<std::pair<int, QueryTile>> tiles;
    for (size_t r = 0; r < shape_.lengths.size(); ++r) {
      for (int at = row_begin(static_cast<int>(r)); at < shape_.lengths[r]; at += size) {
        const int count = std::min(size, shape_.lengths[r] - at);
        tiles.push_back({at + count, {row_start_[r] + at, count}});
      }
    }
    std::stable_sort(tiles.begin(), tiles.end(),
                     [](const auto& a, const auto& b) { return a.first > b.first; });
    std::vector<QueryTile> result;
    for (const auto& tile : tiles) result.push_back(tile.second);
    return result;
  }

  // Attention of token, head in double, over its first `keys` keys.
  std::vector<double> Reference(int row, int position, int head, int keys) const {
    const int dim = shape_.head_dim;
    const auto at = [&](int p, int part) {
      return &host_[static_cast<int64_t>(row_start_[row] + p) * stride_ + part * width_ +
                    head * dim];
    };
    std::vector<double> scores(keys);
    double max = -1e300, sum = 0;
    for (int j = 0; j < keys; ++j) {
      double s = 0;
      for (int d = 0; d < dim; ++d) {
        s += static_cast<double>(__half2float(at(position, 0)[d])) * __half2float(at(j, 1)[d]);
      }
      scores[j] = s / std::sqrt(static_cast<double>(dim));
      max = std::max(max, scores[j]);
    }
    std::vector<double> out(dim, 0.0);
    for (int j = 0; j < keys; ++j) {
      const double p = std::exp(scores[j] - max);
      sum += p;
      for (int d = 0; d < dim; ++d) out[d] += p * __half2float(at(j, 2)[d]);
    }
    for (double& x : out) x /= sum;
    return out;
  }

 private:
  void FillInputs(Random& random) {
    host_.resize(static_cast<int64_t>(tokens_) * stride_);
    for (size_t r = 0; r < shape_.lengths.size(); ++r) {
      for (int p = 0; p < shape_.lengths[r]; ++p) {
        half* token = &host_[static_cast<int64_t>(row_start_[r] + p) * stride_];
        const float v_scale = shape_.loud ? std::exp2(static_cast<float>(p % 64 / 5)) : 1.0f;
        for (int64_t i = 0; i < stride_; ++i) {
          const float scale = i < 2 * width_ ? 1.5f : v_scale;
          token[i] = __float2half(random.Normal() * scale);
        }
        host_positions_.push_back(p);
        host_rows_.push_back(static_cast<int>(r));
      }
    }
    qkv_ = std::make_unique<Buffer<half>>(host_);
    positions_ = std::make_unique<Buffer<int32_t>>(host_positions_);
    token_row_ = std::make_unique<Buffer<int32_t>>(host_rows_);
  }

  // Blocks in random order; entries behind a row's end must not be followed.
  void FillTable(Random& random) {
    std::vector<int32_t> ids(blocks_);
    std::iota(ids.begin(), ids.end(), 0);
    for (int i = blocks_ - 1; i > 0; --i) std::swap(ids[i], ids[random.Below(i + 1)]);
    max_blocks_ = (longest_ + 15) / 16 + 2;
    std::vector<int32_t> table(max_blocks_ * shape_.lengths.size(), 0x7ffffff0);
    int next = 0;
    for (size_t r = 0; r < shape_.lengths.size(); ++r) {
      for (int b = 0; b * 16 < shape_.lengths[r]; ++b) table[r * max_blocks_ + b] = ids[next++];
    }
    table_ = std::make_unique<Buffer<int32_t>>(table);
  }

  CaseShape shape_;
  AttentionCudaArgs args_;
  int tokens_ = 0, longest_ = 0, blocks_ = 0;
  int64_t width_ = 0, stride_ = 0, max_blocks_ = 0, planes_ = 0;
  std::vector<int> row_start_;
  std::vector<int32_t> host_positions_, host_rows_;
  std::vector<half> host_;
  std::unique_ptr<Buffer<half>> qkv_, out_;
  std::unique_ptr<Buffer<int32_t>> positions_, token_row_, table_;
  std::unique_ptr<Buffer<uint16_t>> k_, v_;
  std::unique_ptr<Buffer<char>> scratch_;
};

// Where the device or the build has no kernels for Hopper, only the others are checked.
inline bool HasHopper() {
  AttentionCase c({64, 1, {2}});
  return kernels::cuda::DecodeBy(kernels::cuda::DecodeWay::kHopper, 0, c.Args(), 0, 1, 2, {}) ==
         cudaSuccess;
}

}  // namespace pamir::gpu_test

#endif  // PAMIR_TESTS_GPU_ATTENTION_ATTENTION_CASE_CUH_
