// PackRows: every weight at its place, whatever blocks the source comes in.
#include <vector>

#include "gtest/gtest.h"
#include "parity/product/product_case.h"

namespace pamir::kernels {
namespace {

// A weight that tells its place and is exact in every dtype.
float Telltale(int64_t o, int64_t k) { return static_cast<float>((o * 7 + k * 3) % 251); }

TEST(ProductPack, EveryWeightAtItsPlace) {
  for (const WeightLayout layout : {WeightLayout::kPanels, WeightLayout::kNeurons}) {
    for (const DType to : {DType::kFloat16, DType::kBFloat16, DType::kFloat32}) {
      for (const DType from : {DType::kFloat16, DType::kBFloat16, DType::kFloat32}) {
        const int64_t out = 83, in = 131, stride = in + 5;
        const Matrix shape = {nullptr, to, layout, out, in};
        const AlignedBytes data = AllocateAligned(PackedBytes(layout, to, out, in));
        const AlignedBytes source = AllocateAligned(out * stride * SizeOf(from) + 1);
        char* odd = static_cast<char*>(source.get()) + 1;  // file offsets need not be aligned
        for (int64_t o = 0; o < out; ++o) {
          for (int64_t k = 0; k < in; ++k) {
            StoreFromFloat(from, odd, o * stride + k, Telltale(o, k));
          }
        }
        const char* second = odd + 32 * stride * SizeOf(from);
        PackRows(shape, data.get(), 0, 32, odd, from, stride);
        PackRows(shape, data.get(), 32, out - 32, second, from, stride);
        Matrix packed = shape;
        packed.data = data.get();
        for (int64_t o = 0; o < out; ++o) {
          for (int64_t k = 0; k < in; ++k) {
            ASSERT_EQ(WeightAt(packed, o, k), Telltale(o, k))
                << Name(from) << " to " << Name(to) << ", output " << o << ", input " << k;
          }
        }
      }
    }
  }
}

TEST(ProductPack, BytesArePaddedToPanels) {
  EXPECT_EQ(PackedBytes(WeightLayout::kPanels, DType::kFloat16, 17, 10), 32 * 10 * 2);
  EXPECT_EQ(PackedBytes(WeightLayout::kNeurons, DType::kFloat32, 16, 3), 16 * 3 * 4);
}

TEST(ProductPack, RowsOutsideTheMatrixAreRefused) {
  const Matrix shape = {nullptr, DType::kFloat32, WeightLayout::kPanels, 4, 4};
  float data[64], source[64] = {};
  EXPECT_DEATH(PackRows(shape, data, 2, 3, source, DType::kFloat32, 4), "outside the matrix");
}

TEST(ProductScratch, StopsGrowingWithTheRows) {
  EXPECT_LT(ProductScratchBytes(1, 64, 64, 1), ProductScratchBytes(512, 64, 64, 1));
  EXPECT_EQ(ProductScratchBytes(512, 64, 64, 1), ProductScratchBytes(5000, 64, 64, 1));
}

}  // namespace
}  // namespace pamir::kernels
