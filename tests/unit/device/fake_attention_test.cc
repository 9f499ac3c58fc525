// The fake device's attention over its paged cache.
#include <cmath>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/attention/attention_cuda.h"
#include "unit/device/fake_kernels.h"

namespace pamir::device {
namespace {

using kernels::AttentionCudaArgs;

// One sequence of kTokens tokens, in blocks 5, 0, 3 of the cache.
class FakeAttention : public FakeKernels, public ::testing::WithParamInterface<DType> {
 protected:
  static constexpr int64_t kTokens = 37, kHeads = 2, kDim = 24, kBlocks = 6, kContext = 48;
  static constexpr int64_t kWidth = kHeads * kDim, kStride = 3 * kWidth;

  FakeAttention() {
    std::vector<int32_t> positions;
    for (int i = 0; i < kTokens; ++i) positions.push_back(i);
    args_.type = args_.out_type = GetParam();
    args_.qkv = Device(args_.type, qkv_), args_.qkv_stride = kStride;
    args_.scale = kScale;
    args_.positions = Device(positions);
    args_.token_row = Device(std::vector<int32_t>(kTokens));
    args_.block_table = Device(std::vector<int32_t>{5, 0, 3}), args_.max_blocks = 3;
    args_.kv.heads = kHeads, args_.kv.head_dim = kDim;
    args_.out = Device(args_.type, std::vector<float>(kTokens * kWidth)), args_.out_stride = kWidth;
    args_.scratch_tokens = 2 * kernels::kTileQueries;
    args_.scratch = Device(std::vector<char>(static_cast<size_t>(
        api().attention_scratch_bytes(args_.scratch_tokens, kContext, kHeads, kDim))));
    ClearCache();
  }

  void ClearCache() {
    const auto bytes = kernels::KvCudaPlaneBytes(kBlocks, kHeads, kDim, args_.type);
    args_.kv.k = Device(std::vector<uint8_t>(static_cast<size_t>(bytes), 0xCD));
    args_.kv.v = Device(std::vector<uint8_t>(static_cast<size_t>(bytes), 0xCD));
  }

  std::vector<float> Out() const {
    std::vector<float> out;
    for (size_t i = 0; i < kTokens * kWidth; ++i) {
      out.push_back(LoadAsFloat(args_.type, args_.out, i));
    }
    return out;
  }

  double Element(int64_t token, int64_t part, int64_t head, int64_t d) const {
    return LoadAsFloat(args_.type, args_.qkv,
                       static_cast<size_t>(token * kStride + part * kWidth + head * kDim + d));
  }

  double Expected(int64_t token, int64_t head, int64_t d) const {
    double mass = 0, sum = 0;
    for (int64_t j = 0; j <= token; ++j) {
      double score = 0;
      for (int64_t i = 0; i < kDim; ++i)
        score += Element(token, 0, head, i) * Element(j, 1, head, i);
      mass += std::exp(score * kScale);
      sum += std::exp(score * kScale) * Element(j, 2, head, d);
    }
    return sum / mass;
  }

  static constexpr float kScale = 0.5f;
  std::vector<float> qkv_ = Random(kTokens * kStride);
  AttentionCudaArgs args_;
};

INSTANTIATE_TEST_SUITE_P(Types, FakeAttention, ::testing::Values(DType::kFloat16, DType::kFloat32),
                         [](const auto& info) { return std::string(Name(info.param)); });

TEST_P(FakeAttention, IsTheSoftmaxOverTheContext) {
  EXPECT_EQ(api().write_kv(args_, kTokens, stream()), 0);
  EXPECT_EQ(api().decode_attention(args_, 0, kTokens, kContext, stream()), 0);
  const std::vector<float> out = Out();
  const double tolerance = args_.type == DType::kFloat16 ? 1e-3 : 1e-5;
  for (int64_t i = 0; i < kTokens * kWidth; ++i) {
    EXPECT_NEAR(out[static_cast<size_t>(i)], Expected(i / kWidth, i % kWidth / kDim, i % kDim),
                tolerance);
  }
}

TEST_P(FakeAttention, PrefillAndDecodeThatWritesGiveTheSameBits) {
  EXPECT_EQ(api().write_kv(args_, kTokens, stream()), 0);
  const auto* tiles = Device(std::vector<kernels::QueryTile>{{20, 17}, {0, 20}});
  EXPECT_EQ(
      api().prefill_attention(args_, tiles, 2, kContext, stream(), kernels::PrefillWay::kBest), 0);
  const std::vector<float> prefill = Out();
  ClearCache();
  args_.out = Device(args_.type, std::vector<float>(kTokens * kWidth));
  args_.write_kv = true;
  for (int64_t t = 0; t < kTokens; ++t) {
    EXPECT_EQ(api().decode_attention(args_, t, 1, kContext, stream()), 0);
  }
  EXPECT_EQ(Out(), prefill);
}

TEST_P(FakeAttention, StrangeIndicesAreNamed) {
  EXPECT_DEATH(api().decode_attention(args_, 0, kTokens, 30, stream()),
               "decode_attention: position 30 where context_max is 30");
  EXPECT_DEATH(api().decode_attention(args_, 0, kTokens + 1, kContext, stream()),
               "decode_attention: (qkv|positions) .*passes the end");
  args_.block_table = Device(std::vector<int32_t>{5, 0, 6});
  EXPECT_DEATH(api().write_kv(args_, kTokens, stream()),
               "write_kv: kv.k .*not in live device memory");
  args_.block_table = Device(std::vector<int32_t>{5, -1, 3});
  EXPECT_DEATH(api().write_kv(args_, kTokens, stream()), "write_kv: block -1");
}

TEST_P(FakeAttention, RefusesMoreTilesThanALaunchTakes) {
  const auto* tiles = Device(std::vector<kernels::QueryTile>(512, {0, 1}));
  EXPECT_EQ(
      api().prefill_attention(args_, tiles, 512, kContext, stream(), kernels::PrefillWay::kBest),
      1);
}

TEST_P(FakeAttention, ScratchMustBeThereAndZeroed) {
  AttentionCudaArgs args = args_;
  if (args_.type == DType::kFloat32) {
    args.scratch = nullptr, args.scratch_tokens = 0;
    EXPECT_EQ(api().decode_attention(args, 0, 2, kContext, stream()), 0) << "it needs none";
    return;
  }
  args.scratch_tokens = 1;
  EXPECT_EQ(api().decode_attention(args, 0, 2, kContext, stream()), 1);
  *static_cast<int32_t*>(args_.scratch) = 1;
  EXPECT_DEATH(api().decode_attention(args_, 0, 1, kContext, stream()), "scratch was not zeroed");
}

}  // namespace
}  // namespace pamir::device
