#include "core/spec/model_spec.h"

#include <map>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace pamir::spec {
namespace {

using ::testing::HasSubstr;

std::map<std::string, std::vector<int64_t>> ShapesOf(const ModelSpec& spec) {
  std::map<std::string, std::vector<int64_t>> shapes;
  for (const TensorSpec& tensor : CheckpointTensors(spec)) {
    EXPECT_TRUE(shapes.emplace(tensor.name, tensor.shape).second) << tensor.name << " twice";
  }
  return shapes;
}

TEST(NamedModels, HaveThePublishedParameterCounts) {
  const std::vector<std::pair<std::string, int64_t>> kCounts = {
      {"opt-125m", 125'239'296},   {"opt-350m", 331'196'416},   {"opt-1.3b", 1'315'758'080},
      {"opt-2.7b", 2'651'596'800}, {"opt-6.7b", 6'658'473'984}, {"opt-13b", 12'853'473'280},
      {"opt-30b", 29'974'540'288}};
  for (const auto& [name, count] : kCounts) {
    EXPECT_EQ(ParameterCount(NamedModel(name).value()), count) << name;
  }
  EXPECT_NEAR(ParameterCount(NamedModel("opt-66b").value()) * 2e-9, 131.4, 0.05);
  EXPECT_NEAR(ParameterCount(NamedModel("opt-175b").value()) * 2e-9, 349.2, 0.05);
}

TEST(NamedModels, AreFoundWithAndWithoutPrefix) {
  EXPECT_EQ(NamedModels().size(), 9u);
  EXPECT_EQ(NamedModel("13b").value(), NamedModel("opt-13b").value());
  EXPECT_EQ(NamedModel("OPT-125M").value().name, "opt-125m");
  const absl::Status status = NamedModel("opt-9b").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("opt-125m, opt-350m"));
}

TEST(NamedModels, The350mIsTheOddOne) {
  const ModelSpec spec = NamedModel("350m").value();
  EXPECT_FALSE(spec.pre_norm || spec.final_norm);
  EXPECT_EQ(spec.embed, 512);
  const auto shapes = ShapesOf(spec);
  EXPECT_EQ(shapes.at("model.decoder.project_in.weight"), (std::vector<int64_t>{1024, 512}));
  EXPECT_EQ(shapes.at("model.decoder.project_out.weight"), (std::vector<int64_t>{512, 1024}));
  EXPECT_EQ(shapes.at("model.decoder.embed_tokens.weight"), (std::vector<int64_t>{50272, 512}));
  EXPECT_EQ(shapes.at("model.decoder.embed_positions.weight"), (std::vector<int64_t>{2050, 1024}));
  EXPECT_EQ(shapes.count("model.decoder.final_layer_norm.weight"), 0u);
  EXPECT_EQ(shapes.count("model.decoder.layers.23.final_layer_norm.weight"), 1u);
}

TEST(CheckpointTensors, NamesAndShapesOfALayer) {
  const auto shapes = ShapesOf(NamedModel("125m").value());
  EXPECT_EQ(shapes.size(), 2u + 12 * 16 + 2);
  const std::string layer = "model.decoder.layers.11.";
  EXPECT_EQ(shapes.at(layer + "fc1.weight"), (std::vector<int64_t>{3072, 768}));
  EXPECT_EQ(shapes.at(layer + "fc1.bias"), (std::vector<int64_t>{3072}));
  EXPECT_EQ(shapes.at(layer + "fc2.weight"), (std::vector<int64_t>{768, 3072}));
  EXPECT_EQ(shapes.at(layer + "self_attn.out_proj.bias"), (std::vector<int64_t>{768}));
  EXPECT_EQ(shapes.at(layer + "self_attn_layer_norm.bias"), (std::vector<int64_t>{768}));
  EXPECT_EQ(shapes.count("lm_head.weight"), 0u) << "tied";
}

TEST(CheckpointTensors, VariantsLeaveTensorsOut) {
  ModelSpec spec = NamedModel("125m").value();
  spec.bias = false;
  EXPECT_EQ(ShapesOf(spec).size(), 2u + 12 * (6 + 4) + 2) << "norms keep their shifts";
  spec.norm_affine = false;
  EXPECT_EQ(ShapesOf(spec).size(), 2u + 12 * 6);
  spec.tied = false;
  EXPECT_EQ(ShapesOf(spec).at("lm_head.weight"), (std::vector<int64_t>{50272, 768}));
}

}  // namespace
}  // namespace pamir::spec
