// Product on the CPU against the plain loops: the same bits, on every instruction set of this
// machine, for any number of rows and threads and on every path.
#include <bit>
#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "hwy/targets.h"
#include "parity/product/product_case.h"

namespace pamir::kernels {
namespace {

constexpr auto kF16 = DType::kFloat16;
constexpr auto kBF16 = DType::kBFloat16;
constexpr auto kF32 = DType::kFloat32;
constexpr auto kPanels = WeightLayout::kPanels;
constexpr auto kNeurons = WeightLayout::kNeurons;

// Empty, or the first place where `got` differs by more than the tolerance (0: in any bit).
std::string Difference(const std::vector<float>& want, const std::vector<float>& got,
                       float tolerance) {
  if (want.size() != got.size()) return "sizes differ";
  for (size_t i = 0; i < want.size(); ++i) {
    const bool same = tolerance == 0
                          ? std::bit_cast<uint32_t>(want[i]) == std::bit_cast<uint32_t>(got[i])
                          : std::fabs(want[i] - got[i]) <= tolerance;
    if (!same) return absl::StrCat("at ", i, ": want ", want[i], ", got ", got[i]);
  }
  return "";
}

// Restricts the kernels to one instruction set, then allows all again.
class OnlyTarget {
 public:
  explicit OnlyTarget(int64_t target) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
  ~OnlyTarget() {
    hwy::SetSupportedTargetsForTest(0);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
};

// The instruction sets that the products are compiled for and that this machine has.
std::vector<int64_t> Targets() {
  std::vector<int64_t> targets = {HWY_SCALAR};
  for (int64_t t : {HWY_AVX2, HWY_AVX3, HWY_NEON}) {
    if (hwy::SupportedTargets() & t) targets.push_back(t);
  }
  return targets;
}

const Shape kShapes[] = {
    {kF16, kPanels, 1, 64, 96},
    {kF16, kPanels, 1, 16, 1},
    {kF16, kPanels, 1, 1, 1, 1, false},
    {kF16, kPanels, 3, 7, 241, 1, true, Activation::kRelu},
    {kBF16, kPanels, 5, 77, 241},
    {kF32, kPanels, 6, 130, 63, 1, true, Activation::kGelu},
    {kF16, kPanels, 7, 175, 241, 0.1, true, Activation::kRelu},
    {kF16, kPanels, 14, 48, 513},
    {kBF16, kPanels, 15, 33, 100, 1, false, Activation::kRelu},
    {kF32, kPanels, 29, 97, 257, 0.5},
    {kF16, kPanels, 40, 193, 300, 1, true, Activation::kGelu},
    {kF16, kPanels, 100, 151, 529},
    {kBF16, kPanels, 100, 16, 256},
    {kF16, kPanels, 512, 70, 258, 1, true, Activation::kRelu},
    {kF32, kPanels, 515, 33, 31},
    // x too large for the direct path, and k in several blocks
    {kF16, kPanels, 512, 39, 1100},
    {kF32, kPanels, 20, 200, 2300, 1, true, Activation::kRelu},
    {kBF16, kPanels, 16, 23, 9000, 0.5},
    {kF16, kNeurons, 1, 64, 96, 0.5},
    {kF16, kNeurons, 1, 5, 1},
    {kF16, kNeurons, 1, 33, 700, 0},
    {kF16, kNeurons, 1, 2070, 241, 0.05},
    {kBF16, kNeurons, 2, 77, 241, 0.5, true, Activation::kRelu},
    {kF32, kNeurons, 5, 1042, 529, 0.1, true, Activation::kGelu},
    {kF16, kNeurons, 9, 130, 300, 1},
    {kF16, kNeurons, 32, 2070, 100, 0.7},
    {kF16, kNeurons, 33, 175, 2000, 0.04},
    {kBF16, kNeurons, 100, 600, 513, 0.1, false},
    {kF16, kNeurons, 100, 151, 529, 0.9, true, Activation::kRelu},
    {kF32, kNeurons, 100, 150, 257, 0.6},
    {kF16, kNeurons, 512, 70, 300, 0.05},
    {kF16, kNeurons, 530, 40, 300, 0.5},
};

class ProductParity : public testing::TestWithParam<Shape> {};

TEST_P(ProductParity, EveryTargetAndThreadCount) {
  const Shape& shape = GetParam();
  const ProductCase c(shape);
  const std::vector<float> want = c.Run(Backend::kReference, 1);
  for (const int64_t target : Targets()) {
    const OnlyTarget only(target);
    for (int threads = 1; threads <= 4; ++threads) {
      EXPECT_EQ(Difference(want, c.Run(Backend::kCpu, threads), shape.tolerance), "")
          << Describe(shape) << ", " << hwy::TargetName(target) << ", threads " << threads;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Table, ProductParity, testing::ValuesIn(kShapes));

// A row's bits must not depend on how many rows come with it: all row counts against one reference.
TEST(ProductRows, EveryCountGivesTheSameBits) {
  for (const WeightLayout layout : {kPanels, kNeurons}) {
    for (const double active : {1.0, 0.2}) {
      const Shape shape = {kF16, layout, 512, 83, 241, active};
      const ProductCase c(shape);
      const std::vector<float> want = c.Run(Backend::kReference, 1);
      std::vector<int64_t> counts = {100, 512};
      for (int64_t n = 1; n <= 40; ++n) counts.push_back(n);
      for (const int64_t rows : counts) {
        std::vector<float> some(want.begin(), want.begin() + rows * c.args().y_stride);
        for (const int threads : {1, 3}) {
          EXPECT_EQ(Difference(some, c.Run(Backend::kCpu, threads, rows), 0), "")
              << Describe(shape) << ", of which rows " << rows << ", threads " << threads;
        }
      }
    }
  }
}

// A sum that underflows to -0 before a zero input: skipped or added, the output is +0.
TEST(ProductZero, NegativeZeroSumsAgree) {
  for (const WeightLayout layout : {kPanels, kNeurons}) {
    const Matrix w = {nullptr, kF32, layout, 16, 2};
    const AlignedBytes data = AllocateAligned(PackedBytes(layout, kF32, 16, 2));
    const std::vector<float> source(32, 1e-30f);
    PackRows(w, data.get(), 0, 16, source.data(), kF32, 2);
    const float x[] = {-1e-30f, 0};
    for (const Backend backend : {Backend::kReference, Backend::kCpu}) {
      std::vector<float> y(16, 1);
      const AlignedBytes scratch = AllocateAligned(ProductScratchBytes(1, 2, 16, 1));
      ProductArgs a = {x, 1, 2, w, nullptr, Activation::kNone, y.data(), 16, scratch.get()};
      a.w.data = data.get();
      ThreadPool pool(1);
      KernelContext context;
      context.backend = backend;
      context.pool = &pool;
      Product(context, a);
      for (const float v : y) EXPECT_EQ(std::bit_cast<uint32_t>(v), 0u);
    }
  }
}

// Twins that are wrong on purpose: the comparison above must reject them.
std::vector<float> TwoAccumulators(const ProductArgs& a) {
  std::vector<float> y(a.rows * a.y_stride, ProductCase::kPoison);
  for (int64_t r = 0; r < a.rows; ++r) {
    for (int64_t o = 0; o < a.w.out; ++o) {
      float sum[2] = {0, 0};
      for (int64_t k = 0; k < a.w.in; ++k) {
        sum[k % 2] = std::fma(a.x[r * a.x_stride + k], WeightAt(a.w, o, k), sum[k % 2]);
      }
      y[r * a.y_stride + o] = sum[0] + sum[1] + a.bias[o];
    }
  }
  return y;
}

TEST(ProductBrokenTwin, TwoAccumulatorsAreRejected) {
  const ProductCase c({kF16, kPanels, 4, 40, 241});
  EXPECT_NE(Difference(c.Run(Backend::kReference, 1), TwoAccumulators(c.args()), 0), "");
}

TEST(ProductBrokenTwin, AMissingTailIsRejected) {
  const ProductCase c({kF16, kPanels, 4, 40, 241});
  ProductArgs a = c.args();
  a.w.in -= 1;  // also shifts panels: keep one panel, whose last input is then lost
  a.w.out = 16;
  std::vector<float> y(a.rows * a.y_stride);
  a.y = y.data();
  ProductReference(a);
  std::vector<float> want = c.Run(Backend::kReference, 1);
  bool differs = false;
  for (int64_t o = 0; o < 16; ++o) differs |= y[o] != want[o];
  EXPECT_TRUE(differs);
}

TEST(ProductDeath, SaysWhatIsWrong) {
  ProductArgs a;
  float one[16] = {};
  a.rows = 1;
  a.x = a.y = one;
  a.w = {one, kF32, kPanels, 2, 4};
  a.x_stride = 3;
  a.y_stride = 2;
  EXPECT_DEATH(Product(KernelContext(), a), "x_stride is smaller");
  a.x_stride = 4;
  KernelContext cpu;
  cpu.backend = Backend::kCpu;
  EXPECT_DEATH(Product(cpu, a), "needs a thread pool");
  ThreadPool pool(1);
  cpu.pool = &pool;
  EXPECT_DEATH(Product(cpu, a), "scratch is null");
}

}  // namespace
}  // namespace pamir::kernels
