#include <cmath>
#include <vector>

#include "engine/weights/dummy_values.h"
#include "engine/weights/tensor_source.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "unit/weights/test_sources.h"

namespace pamir::weights {
namespace {

using ::testing::HasSubstr;

std::vector<uint16_t> Bits(const TensorSource& source, const std::string& name, Range rows,
                           Range columns) {
  std::vector<uint16_t> bits(static_cast<size_t>(rows.size() * columns.size()));
  const absl::Status status = source.Read(name, rows, columns, bits.data());
  EXPECT_TRUE(status.ok()) << status;
  return bits;
}

// All of a tensor, as floats.
std::vector<float> Values(const TensorSource& source, const std::string& name) {
  const std::vector<int64_t> shape = source.Find(name).value().shape;
  std::vector<float> values;
  for (const uint16_t b :
       Bits(source, name, {0, shape[0]}, {0, shape.size() == 1 ? 1 : shape[1]})) {
    values.push_back(HalfToFloat(b));
  }
  return values;
}

struct Moments {
  double mean = 0, deviation = 0;
};
Moments MomentsOf(const std::vector<float>& values) {
  double sum = 0, squares = 0;
  for (const float v : values) sum += v, squares += double{v} * v;
  const double n = static_cast<double>(values.size()), mean = sum / n;
  return {mean, std::sqrt(squares / n - mean * mean)};
}

TEST(DummyValues, QuantilesOfTheNormalDistribution) {
  EXPECT_NEAR(NormalQuantile(0.5), 0, 1e-12);
  EXPECT_NEAR(NormalQuantile(0.975), 1.959963984540054, 1e-9);
  EXPECT_NEAR(NormalQuantile(0.001), -3.090232306167813, 1e-9);
  double sum = 0, squares = 0;
  for (const double level : StandardNormalLevels()) sum += level, squares += level * level;
  EXPECT_NEAR(sum, 0, 1e-9);
  EXPECT_NEAR(squares / kLevels, 1, 1e-12);
}

TEST(DummySource, LooksLikeAFreshOptModel) {
  const spec::ModelSpec model = spec::NamedModel("125m").value();
  const auto source = MakeDummySource(model, {});
  const std::string layer = "model.decoder.layers.7.";
  for (const std::string& name : {layer + "fc1.weight", layer + "self_attn.q_proj.weight",
                                  std::string("model.decoder.embed_positions.weight")}) {
    const Moments m = MomentsOf(Values(*source, name));
    EXPECT_NEAR(m.mean, 0, 1e-4) << name;
    EXPECT_NEAR(m.deviation, 0.02, 1e-4) << name;
  }
  EXPECT_NEAR(MomentsOf(Values(*source, layer + "self_attn_layer_norm.weight")).mean, 1, 0.01);
  EXPECT_NEAR(MomentsOf(Values(*source, layer + "self_attn_layer_norm.bias")).mean, 0, 0.01);
  EXPECT_NEAR(MomentsOf(Values(*source, layer + "fc1.bias")).mean, 0, 0.01);
}

TEST(DummySource, ASliceIsAPartOfTheWhole) {
  const auto source = MakeDummySource(OddModel(), {.seed = 9});
  const std::string name = "model.decoder.layers.1.fc2.weight";  // [60, 250]
  const std::vector<uint16_t> whole = Bits(*source, name, {0, 60}, {0, 250});
  for (const Range rows : {Range{0, 1}, Range{7, 23}, Range{59, 60}, Range{5, 5}}) {
    for (const Range columns : {Range{0, 250}, Range{1, 250}, Range{3, 5}, Range{249, 250}}) {
      const std::vector<uint16_t> slice = Bits(*source, name, rows, columns);
      for (int64_t r = 0; r < rows.size(); ++r) {
        for (int64_t c = 0; c < columns.size(); ++c) {
          ASSERT_EQ(slice[r * columns.size() + c],
                    whole[(rows.begin + r) * 250 + columns.begin + c]);
        }
      }
    }
  }
}

TEST(DummySource, DependsOnSeedAndNameOnly) {
  const auto a = MakeDummySource(OddModel(), {.seed = 1});
  const auto again = MakeDummySource(OddModel("gelu"), {.seed = 1});
  const auto b = MakeDummySource(OddModel(), {.seed = 2});
  const std::string name = "model.decoder.layers.0.self_attn.q_proj.weight";
  EXPECT_EQ(Values(*a, name), Values(*again, name));
  EXPECT_NE(Values(*a, name), Values(*b, name));
  EXPECT_NE(Values(*a, name), Values(*a, "model.decoder.layers.1.self_attn.q_proj.weight"));
}

TEST(DummySource, ValuesAreFixedForEver) {
  // A change here changes every dummy model, and what was measured with it. The numbers come from
  // another implementation of the same definition.
  uint16_t bits[6];
  FillDummy(ScaledTable(StandardNormalLevels(), 0, 0.02), DummyKey(0, "w"), 1, 6, bits);
  EXPECT_THAT(bits, testing::ElementsAre(0x95E6, 0xA6FA, 0x28A1, 0x195E, 0x21CA, 0xA021));
}

TEST(DummySource, RefusesWhatIsNotThere) {
  const auto source = MakeDummySource(OddModel(), {});
  EXPECT_THAT(std::string(source->Find("lm_head.weight").status().message()),
              HasSubstr("\"lm_head.weight\" is not one of the dummy model odd-plain"));
  uint16_t out[4];
  const std::string name = "model.decoder.layers.0.fc1.bias";
  EXPECT_FALSE(source->Read(name, {249, 251}, {0, 1}, out).ok());
  EXPECT_FALSE(source->Read(name, {0, 1}, {0, 2}, out).ok());
  EXPECT_FALSE(source->Read("x", {0, 1}, {0, 1}, out).ok());
}

// A LayerNorm of the sum of some token's and position's embedding, as a first layer's fc1 sees it
// where attention adds little.
std::vector<double> NormedInput(const std::vector<float>& tokens, const std::vector<float>& places,
                                const std::vector<float>& gamma, const std::vector<float>& beta,
                                int64_t at) {
  const size_t hidden = gamma.size();
  std::vector<double> x(hidden);
  double mean = 0, variance = 0;
  for (size_t i = 0; i < hidden; ++i) {
    x[i] = double{tokens[at * hidden + i]} + places[at * hidden + i];
    mean += x[i] / hidden;
  }
  for (const double v : x) variance += (v - mean) * (v - mean) / hidden;
  for (size_t i = 0; i < hidden; ++i) {
    x[i] = (x[i] - mean) / std::sqrt(variance + 1e-5) * gamma[i] + beta[i];
  }
  return x;
}

double ShareOfPositiveFc1Outputs(double density) {
  spec::ModelSpec model = OddModel();
  model.hidden = model.embed = 192;
  model.ffn = 1000;
  const auto source = MakeDummySource(model, {.seed = 3, .relu_density = density});
  const std::string layer = "model.decoder.layers.0.";
  const auto tokens = Values(*source, "model.decoder.embed_tokens.weight");
  const auto places = Values(*source, "model.decoder.embed_positions.weight");
  const auto gamma = Values(*source, layer + "final_layer_norm.weight");
  const auto beta = Values(*source, layer + "final_layer_norm.bias");
  const auto weight = Values(*source, layer + "fc1.weight");
  const auto bias = Values(*source, layer + "fc1.bias");
  int64_t positive = 0;
  for (int64_t t = 0; t < model.positions; ++t) {
    const std::vector<double> x = NormedInput(tokens, places, gamma, beta, t);
    for (int64_t o = 0; o < model.ffn; ++o) {
      double sum = bias[o];
      for (int64_t k = 0; k < model.hidden; ++k) sum += x[k] * weight[o * model.hidden + k];
      positive += sum > 0;
    }
  }
  return static_cast<double>(positive) / static_cast<double>(model.positions * model.ffn);
}

TEST(DummySource, ReluDensityIsTheShareOfPositiveOutputs) {
  for (const double density : {0.03, 0.1, 0.3, 0.5, 0.9}) {
    EXPECT_NEAR(ShareOfPositiveFc1Outputs(density), density, 0.02) << density;
  }
}

}  // namespace
}  // namespace pamir::weights
