// The fake kernels against plain arithmetic, and what they refuse.
#include "unit/device/fake_kernels.h"

#include <cmath>
#include <cstring>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace pamir::device {
namespace {

using kernels::cuda::GpuProductArgs;
using kernels::cuda::WeightOrder;

class FakeProduct : public FakeKernels {
 protected:
  static constexpr int64_t kIn = 48, kOut = 24, kRows = 3;

  FakeProduct() { api().open_product(false, &product_); }
  ~FakeProduct() override { api().close_product(product_); }

  // y of `rows` rows, from W given as [out][in].
  std::vector<float> Multiply(DType type, WeightOrder order, int64_t rows) {
    std::vector<float> w = w_;
    for (int64_t o = 0; order == WeightOrder::kNeurons && o < kOut; ++o) {
      for (int64_t k = 0; k < kIn; ++k) w[k * kOut + o] = w_[o * kIn + k];
    }
    GpuProductArgs args;
    args.type = type;
    args.x = Device(type, x_);
    args.rows = rows, args.x_stride = kIn;
    args.w = {Device(type, w), kOut, kIn, order};
    args.bias = Device(bias_);
    args.activation = kernels::Activation::kRelu;
    args.y_type = DType::kFloat32;
    auto* y = Device(std::vector<float>(static_cast<size_t>(rows * kOut)));
    args.y = y, args.y_stride = kOut;
    EXPECT_EQ(api().product(product_, stream(), args), 0);
    return {y, y + rows * kOut};
  }

  kernels::cuda::ProductDevice* product_ = nullptr;
  std::vector<float> x_ = Random(kRows * kIn, 0.4f), w_ = Random(kOut * kIn), bias_ = Random(kOut);
};

TEST_F(FakeProduct, MultipliesEveryTypeInBothOrders) {
  for (const DType type : {DType::kFloat16, DType::kBFloat16, DType::kFloat32}) {
    const std::vector<float> y = Multiply(type, WeightOrder::kOutputs, kRows);
    for (int64_t r = 0; r < kRows; ++r) {
      for (int64_t o = 0; o < kOut; ++o) {
        double sum = bias_[o];
        for (int64_t k = 0; k < kIn; ++k) {
          sum += double{Rounded(type, x_[r * kIn + k])} * Rounded(type, w_[o * kIn + k]);
        }
        EXPECT_NEAR(y[r * kOut + o], std::max(sum, 0.0), 1e-5) << Name(type);
      }
    }
    EXPECT_EQ(y, Multiply(type, WeightOrder::kNeurons, kRows)) << "the same bits in both orders";
    const std::vector<float> one = Multiply(type, WeightOrder::kOutputs, 1);
    EXPECT_TRUE(std::equal(one.begin(), one.end(), y.begin())) << "and for every number of rows";
  }
}

TEST_F(FakeProduct, FlagsSayWhichGroupsAreIdle) {
  GpuProductArgs args;
  std::vector<float> w = w_;
  std::fill(w.begin(), w.begin() + 16 * kIn, 0.0f);
  args.x = Device(DType::kFloat16, x_), args.rows = kRows, args.x_stride = kIn;
  args.w = {Device(DType::kFloat16, w), kOut, kIn, WeightOrder::kOutputs};
  args.y = Device(std::vector<uint16_t>(kRows * kOut)), args.y_stride = kOut;
  args.active_out = Device(std::vector<uint8_t>(2, 9));
  EXPECT_EQ(api().product(product_, stream(), args), 0);
  EXPECT_EQ(args.active_out[0], 0);
  EXPECT_EQ(args.active_out[1], 1);
  args.active_in = Device(std::vector<uint8_t>{1, 0, 1}), args.active_out = nullptr;
  EXPECT_DEATH(api().product(product_, stream(), args), "active_in has 0 for the group of input");
}

TEST_F(FakeProduct, RefusesWhatTheDeviceRefuses) {
  GpuProductArgs args;
  args.x = Device(DType::kFloat16, x_), args.rows = kRows, args.x_stride = kIn;
  args.w = {Device(DType::kFloat16, w_), kOut, kIn, WeightOrder::kOutputs};
  args.y = Device(std::vector<uint16_t>(kRows * kOut)), args.y_stride = kOut;
  EXPECT_EQ(api().product(product_, stream(), args), 0);
  GpuProductArgs bad = args;
  bad.rows = 0;
  EXPECT_EQ(api().product(product_, stream(), bad), 1);
  bad = args, bad.y_stride = kOut - 1;
  EXPECT_EQ(api().product(product_, stream(), bad), 1);
  bad = args, bad.w.out = kOut + 8, bad.y_stride = kOut + 8;
  EXPECT_DEATH(api().product(product_, stream(), bad), "product: w .*passes the end");
}

TEST_F(FakeProduct, NormBeforeTheProductIsTheNormByItself) {
  const std::vector<float> x = Random(kRows * kIn), delta = Random(kRows * kIn);
  kernels::NormCudaArgs norm;
  norm.rows = kRows, norm.width = kIn;
  norm.x = Device(x), norm.delta = Device(delta), norm.delta_type = DType::kFloat32;
  norm.bias = Device(Random(kIn));
  norm.gamma = Device(Random(kIn)), norm.beta = Device(Random(kIn));
  norm.y = Device(std::vector<uint16_t>(kRows * kIn));
  EXPECT_EQ(api().add_norm(norm, stream()), 0);
  GpuProductArgs args;
  args.x = norm.y, args.rows = kRows, args.x_stride = kIn;
  args.w = {Device(DType::kFloat16, w_), kOut, kIn, WeightOrder::kOutputs};
  auto* apart = Device(std::vector<float>(kRows * kOut));
  args.y = apart, args.y_type = DType::kFloat32, args.y_stride = kOut;
  EXPECT_EQ(api().product(product_, stream(), args), 0);
  const kernels::cuda::NormPrologue prologue = {
      Device(x),    static_cast<const float*>(norm.delta),  norm.bias, norm.gamma, norm.beta,
      norm.epsilon, Device(std::vector<float>(kRows * kIn))};
  auto* together = Device(std::vector<float>(kRows * kOut));
  args.x = nullptr, args.norm = &prologue, args.y = together;
  ASSERT_TRUE(api().norm_prologue_fits(product_, args));
  EXPECT_EQ(api().product(product_, stream(), args), 0);
  EXPECT_EQ(std::vector<float>(apart, apart + kRows * kOut),
            std::vector<float>(together, together + kRows * kOut));
  EXPECT_EQ(std::memcmp(prologue.x_out, norm.x, kRows * kIn * 4), 0);
}

TEST_F(FakeKernels, SkippedNeuronsGiveTheProductsSum) {
  constexpr int64_t kIn = 520, kOut = 16, kRows = 3;
  const std::vector<float> x = Random(kRows * kIn, 0.9f), w = Random(kIn * kOut);
  const std::vector<float> bias = Random(kOut);
  kernels::cuda::SkipNeuronsArgs args;
  args.x = Device(DType::kFloat16, x), args.rows = 2, args.x_stride = kIn;
  args.index = Device(std::vector<int32_t>{2, -1});
  args.w = Device(DType::kFloat16, w), args.out = kOut, args.in = kIn;
  args.bias = Device(bias);
  args.y = Device(std::vector<float>(kRows * kOut, -7.0f)), args.y_stride = kOut;
  args.scratch_rows = 2;
  args.scratch = Device(std::vector<char>(api().skip_neurons_scratch_bytes(2, kOut, kIn)));
  EXPECT_EQ(api().skip_neurons(args, stream(), kernels::cuda::SkipNeuronsWay::kBest), 0);
  for (int64_t o = 0; o < kOut; ++o) {
    double sum = bias[o];
    for (int64_t k = 0; k < kIn; ++k) {
      sum += double{Rounded(DType::kFloat16, x[2 * kIn + k])} *
             Rounded(DType::kFloat16, w[k * kOut + o]);
    }
    EXPECT_NEAR(args.y[2 * kOut + o], sum, 1e-5);
    EXPECT_EQ(args.y[o], -7.0f);
  }
}

TEST_F(FakeKernels, EmbedsIdsAndSampledTokens) {
  constexpr int64_t kWidth = 4;
  kernels::EmbedCudaArgs args;
  args.ids = Device(std::vector<int32_t>{11, -2, 0}),
  args.sampled = Device(std::vector<int32_t>{0, 12});
  args.tokens = 3, args.width = kWidth, args.table_type = DType::kFloat32;
  args.first_row = 11, args.table_rows = 2;
  args.table = Device(std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8});
  args.positions = Device(std::vector<int32_t>{0, 1, 0});
  std::vector<float> positions(4 * kWidth);
  for (size_t i = 0; i < positions.size(); ++i) positions[i] = static_cast<float>(i / kWidth * 100);
  args.position_table = Device(positions);
  auto* out = Device(std::vector<float>(3 * kWidth));
  args.out = out;
  EXPECT_EQ(api().embed(args, stream()), 0);
  EXPECT_THAT(std::vector<float>(out, out + 12),
              ::testing::ElementsAre(201, 202, 203, 204, 305, 306, 307, 308, 200, 200, 200, 200));
  args.positions = Device(std::vector<int32_t>{0, 2, 0});
  EXPECT_DEATH(api().embed(args, stream()), "embed: the row of a position");
}

TEST_F(FakeKernels, SamplesAndLeavesTheTokenInItsSlot) {
  kernels::SampleCudaArgs args;
  args.logits = Device(std::vector<float>{0, 3, 1, 99, 5, 2, 5, 99});
  args.rows = 2, args.stride = 4, args.vocab = 3;
  std::vector<kernels::SampleRow> params(2);
  params[0].temperature = 0;
  params[1].top_k = 1;
  args.params = Device(params);
  args.tokens = Device(std::vector<int32_t>(2));
  args.logprobs = Device(std::vector<float>(2));
  args.slots = Device(std::vector<int32_t>{2, 0});
  args.sampled = Device(std::vector<int32_t>(3, -1));
  EXPECT_EQ(api().sample(args, stream()), 0);
  EXPECT_THAT(std::vector<int32_t>(args.sampled, args.sampled + 3),
              ::testing::ElementsAre(0, -1, 1));
  EXPECT_NEAR(args.logprobs[0], 3 - std::log(1 + std::exp(3.0) + std::exp(1.0)), 1e-6);
}

}  // namespace
}  // namespace pamir::device
