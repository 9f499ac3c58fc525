// Conversions are exact and a position adds once, so every target must give the reference's bits.
#include "kernels/embedding/embedding.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/units.h"
#include "gtest/gtest.h"
#include "parity/ops/parity.h"

namespace pamir::parity {
namespace {

struct Case {
  DType dtype;
  int64_t vocab;
  int64_t width;
  int64_t first_row;
  int64_t tokens;
};

constexpr Case kCases[] = {
    {DType::kFloat16, 50, 40, 0, 9},  {DType::kFloat16, 33, 768, 10, 40},
    {DType::kBFloat16, 48, 16, 0, 5}, {DType::kBFloat16, 17, 100, 100, 30},
    {DType::kFloat32, 20, 64, 0, 7},  {DType::kFloat32, 100, 5, 3, 200},
    {DType::kFloat16, 1, 1, 0, 2},    {DType::kBFloat16, 300, 512, 0, 64},
};

std::string Describe(const Case& c, int64_t target) {
  return absl::StrCat(hwy::TargetName(target), " ", Name(c.dtype), " ", c.vocab, " x ", c.width);
}

// The value of row o, column k, as it is stored: half of the smallest are subnormal in binary16.
float Stored(const Case& c, int64_t o, int64_t k) {
  const float value = (2 * PhiloxUniform(7, 1, o * c.width + k) - 1) * (k % 3 == 0 ? 1e-6f : 1.0f);
  std::vector<char> bytes(4);
  StoreFromFloat(c.dtype, bytes.data(), 0, value);
  return LoadAsFloat(c.dtype, bytes.data(), 0);
}

std::vector<char> Panels(const Case& c) {
  const int64_t panels = CeilDiv(c.vocab, kernels::kPanelOutputs);
  std::vector<char> bytes(panels * kernels::kPanelOutputs * c.width * SizeOf(c.dtype), 0);
  for (int64_t o = 0; o < c.vocab; ++o) {
    for (int64_t k = 0; k < c.width; ++k) {
      const int64_t panel = o / kernels::kPanelOutputs, lane = o % kernels::kPanelOutputs;
      const int64_t index = (panel * c.width + k) * kernels::kPanelOutputs + lane;
      StoreFromFloat(c.dtype, bytes.data(), index, Stored(c, o, k));
    }
  }
  return bytes;
}

// Ids within the shard, before it and behind it.
std::vector<int32_t> Ids(const Case& c) {
  std::vector<int32_t> ids;
  for (int64_t t = 0; t < c.tokens; ++t) {
    ids.push_back(static_cast<int32_t>((c.first_row + t * 7 - 2) % (c.first_row + c.vocab + 5)));
    if (ids.back() < 0) ids.back() = 0;
  }
  return ids;
}

// Row id - first_row of the table, or zeros; `shift` is the broken twin's error.
std::vector<float> Expected(const Case& c, int64_t shift) {
  std::vector<float> out;
  for (const int32_t id : Ids(c)) {
    const int64_t row = id - c.first_row + shift;
    for (int64_t k = 0; k < c.width; ++k) {
      out.push_back(row >= 0 && row < c.vocab ? Stored(c, row, k) : 0);
    }
  }
  return out;
}

std::vector<float> Gather(const KernelContext& context, const Case& c) {
  const std::vector<char> panels = Panels(c);
  const std::vector<int32_t> ids = Ids(c);
  std::vector<float> out(c.tokens * c.width, 99);
  kernels::GatherArgs args;
  args.ids = ids.data();
  args.tokens = c.tokens;
  args.table = {panels.data(), c.dtype, kernels::WeightLayout::kPanels, c.vocab, c.width};
  args.first_row = c.first_row;
  args.out = out.data();
  kernels::GatherRows(context, args);
  return out;
}

TEST(EmbeddingParity, GathersItsRowsAndZeros) {
  for (const int64_t target : Targets()) {
    const ForcedTarget forced(target);
    ThreadPool pool(3);
    for (const Case& c : kCases) {
      const std::vector<float> expected = Expected(c, 0);
      EXPECT_EQ(CountDifferent(expected, Gather({}, c), 0), 0) << Describe(c, target);
      EXPECT_EQ(CountDifferent(expected, Gather({Backend::kCpu, &pool, {}}, c), 0), 0)
          << Describe(c, target);
    }
  }
}

TEST(EmbeddingParity, TheComparisonRejectsTheRowBelow) {
  for (const Case& c : kCases) {
    EXPECT_GT(CountDifferent(Expected(c, 1), Gather({}, c), 0), 0) << Describe(c, 0);
  }
}

std::vector<float> WithPositions(const KernelContext& context, const Case& c,
                                 const std::vector<int32_t>& positions) {
  std::vector<char> table(c.vocab * c.width * SizeOf(c.dtype));
  for (int64_t i = 0; i < c.vocab * c.width; ++i) {
    StoreFromFloat(c.dtype, table.data(), i, Stored(c, i / c.width, i % c.width));
  }
  std::vector<float> x = Random(static_cast<int64_t>(positions.size()) * c.width, 11);
  kernels::PositionArgs args;
  args.positions = positions.data();
  args.tokens = static_cast<int64_t>(positions.size());
  args.table = table.data();
  args.dtype = c.dtype;
  args.width = c.width;
  args.x = x.data();
  kernels::AddPositions(context, args);
  return x;
}

TEST(EmbeddingParity, AddsRowPositionPlusTwo) {
  ThreadPool pool(2);
  for (const int64_t target : Targets()) {
    const ForcedTarget forced(target);
    for (const Case& c : kCases) {
      if (c.vocab < 12) continue;
      const std::vector<int32_t> positions = {0, 1, 5, 9, 3, 3};
      const auto rows = static_cast<int64_t>(positions.size());
      std::vector<float> expected = Random(rows * c.width, 11), twin = expected;
      for (int64_t i = 0; i < rows * c.width; ++i) {
        expected[i] += Stored(c, positions[i / c.width] + 2, i % c.width);
        twin[i] += Stored(c, positions[i / c.width], i % c.width);  // forgot the offset
      }
      const std::vector<float> x = WithPositions({Backend::kCpu, &pool, {}}, c, positions);
      EXPECT_EQ(CountDifferent(expected, x, 0), 0) << Describe(c, target);
      EXPECT_EQ(CountDifferent(expected, WithPositions({}, c, positions), 0), 0);
      EXPECT_GT(CountDifferent(twin, x, 0), 0) << "the comparison must see the offset";
    }
  }
}

}  // namespace
}  // namespace pamir::parity
