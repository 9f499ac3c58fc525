#include "kernels/norm/norm.h"

#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "parity/ops/parity.h"

namespace pamir::parity {
namespace {

using kernels::NormArgs;

// `portable` is the tolerance without fused multiply-adds; with them it is 0: equal bits.
struct Case {
  int64_t rows;
  int64_t width;
  bool delta, bias, gamma, beta, in_place, normalize;
  double portable;
  double textbook;
};

constexpr Case kCases[] = {
    {1, 1, false, false, true, true, false, true, 1e-5, 1e-5},
    {3, 7, true, true, true, true, false, true, 1e-5, 1e-5},
    {2, 16, true, false, true, false, true, true, 1e-5, 1e-5},
    {2, 63, false, false, false, true, false, true, 1e-5, 1e-5},
    {2, 64, true, true, false, false, true, true, 1e-5, 1e-5},
    {2, 65, true, true, true, true, false, true, 1e-5, 1e-5},
    {1, 768, true, true, true, true, false, true, 1e-5, 1e-5},
    {40, 768, true, true, true, true, true, true, 1e-5, 1e-5},
    {5, 1000, true, true, true, true, false, false, 0, 0},
    {3, 12288, true, true, true, true, false, true, 1e-5, 1e-5},
    {2, 12288, false, true, true, true, true, true, 1e-5, 1e-5},
};

std::string Describe(const Case& c, const std::string& who) {
  return absl::StrCat(who, ", ", c.rows, " x ", c.width, c.delta ? ", delta" : "",
                      c.in_place ? ", in place" : "", c.normalize ? "" : ", only the addition");
}

// What a call reads and writes.
struct Data {
  std::vector<float> x, delta, bias, gamma, beta, y;
};

Data MakeData(const Case& c) {
  Data data;
  data.x = Random(c.rows * c.width, 1, 4);
  for (float& x : data.x) x += 0.7f;  // a mean that matters
  data.delta = Random(c.rows * c.width, 2);
  data.bias = Random(c.width, 3);
  data.gamma = Random(c.width, 4);
  data.beta = Random(c.width, 5);
  data.y.assign(c.rows * c.width, 99);
  return data;
}

NormArgs Args(const Case& c, Data& data) {
  NormArgs args;
  args.rows = c.rows;
  args.width = c.width;
  args.x = data.x.data();
  args.delta = c.delta ? data.delta.data() : nullptr;
  args.bias = c.bias ? data.bias.data() : nullptr;
  args.gamma = c.gamma ? data.gamma.data() : nullptr;
  args.beta = c.beta ? data.beta.data() : nullptr;
  args.normalize = c.normalize;
  args.y = c.in_place ? data.x.data() : data.y.data();
  return args;
}

Data RunReference(const Case& c) {
  Data data = MakeData(c);
  kernels::AddNormReference(Args(c, data));
  return data;
}

// y (or x, where that is all) in double; `freedom` is what the sum of squares loses before the
// division: 0 is OPT's biased variance, 1 the broken twin.
std::vector<float> Textbook(const Case& c, int freedom) {
  const Data data = MakeData(c);
  std::vector<float> out;
  for (int64_t r = 0; r < c.rows; ++r) {
    std::vector<double> x(c.width);
    double mean = 0, squares = 0;
    for (int64_t i = 0; i < c.width; ++i) {
      x[i] = data.x[r * c.width + i];
      if (c.delta) x[i] += double{data.delta[r * c.width + i]} + (c.bias ? data.bias[i] : 0);
      mean += x[i] / static_cast<double>(c.width);
    }
    for (const double value : x) squares += (value - mean) * (value - mean);
    const double deviation = std::sqrt(squares / static_cast<double>(c.width - freedom) + 1e-5);
    for (int64_t i = 0; i < c.width; ++i) {
      out.push_back(static_cast<float>((x[i] - mean) / deviation * (c.gamma ? data.gamma[i] : 1) +
                                       (c.beta ? data.beta[i] : 0)));
    }
  }
  return out;
}

TEST(NormParity, ReferenceIsTextbookLayerNorm) {
  for (const Case& c : kCases) {
    if (!c.normalize) continue;
    const Data data = RunReference(c);
    const std::vector<float>& y = c.in_place ? data.x : data.y;
    EXPECT_EQ(CountDifferent(Textbook(c, 0), y, c.textbook), 0) << Describe(c, "reference");
  }
}

TEST(NormParity, TheComparisonRejectsUnbiasedVariance) {
  for (const Case& c : kCases) {
    if (!c.normalize || c.width < 2) continue;
    const Data data = RunReference(c);
    const std::vector<float>& y = c.in_place ? data.x : data.y;
    EXPECT_GT(CountDifferent(Textbook(c, 1), y, c.textbook), 0) << Describe(c, "reference");
  }
}

TEST(NormParity, EveryTargetIsTheReference) {
  for (const int64_t target : Targets()) {
    const ForcedTarget forced(target);
    for (const int threads : {1, 3}) {
      ThreadPool pool(threads);
      for (const Case& c : kCases) {
        const Data expected = RunReference(c);
        Data data = MakeData(c);
        kernels::AddNorm({Backend::kCpu, &pool, {}}, Args(c, data));
        const double tolerance = HasFma(target) ? 0 : c.portable;
        EXPECT_EQ(CountDifferent(expected.x, data.x, tolerance), 0)
            << Describe(c, hwy::TargetName(target));
        EXPECT_EQ(CountDifferent(expected.y, data.y, tolerance), 0)
            << Describe(c, hwy::TargetName(target));
      }
    }
  }
}

// A row's bits are the same alone and among others.
TEST(NormExactness, CompanyChangesNothing) {
  const Case c = {40, 768, true, true, true, true, false, true, 0, 0};
  ThreadPool pool(3);
  const KernelContext context = {Backend::kCpu, &pool, {}};
  Data all = MakeData(c);
  kernels::AddNorm(context, Args(c, all));
  Data alone = MakeData(c);
  for (int64_t r = 0; r < c.rows; ++r) {
    NormArgs args = Args(c, alone);
    args.rows = 1;
    args.x += r * c.width;
    args.delta += r * c.width;
    args.y += r * c.width;
    kernels::AddNorm(context, args);
  }
  EXPECT_EQ(CountDifferent(all.x, alone.x, 0), 0);
  EXPECT_EQ(CountDifferent(all.y, alone.y, 0), 0);
}

// The residual stream of trained OPT has a few huge elements.
TEST(NormParity, OutliersDoNotSwallowTheRest) {
  const Case c = {1, 4096, false, false, false, false, false, true, 0, 0};
  Data data = MakeData(c);
  data.x[17] = 3000;
  data.x[2900] = -1500;
  double mean = 0, squares = 0;
  for (const float x : data.x) mean += double{x} / 4096;
  for (const float x : data.x) squares += (x - mean) * (x - mean);
  const double deviation = std::sqrt(squares / 4096 + 1e-5);
  ThreadPool pool(1);
  kernels::AddNorm({Backend::kCpu, &pool, {}}, Args(c, data));
  for (const int i : {0, 17, 2900, 4095}) {
    EXPECT_NEAR(data.y[i], (data.x[i] - mean) / deviation, 1e-5 * (1 + std::abs(data.y[i])));
  }
}

}  // namespace
}  // namespace pamir::parity
