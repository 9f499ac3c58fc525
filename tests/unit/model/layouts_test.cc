// Plans that split unevenly, and models of odd sizes: the same tokens as on one rank.
#include <algorithm>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "support/golden.h"
#include "unit/model/generate.h"
#include "unit/model/thread_ranks.h"

namespace pamir::testing {
namespace {

// Cuts `whole` behind the given ends.
std::vector<Range> Cut(int64_t whole, std::vector<int64_t> ends) {
  std::vector<Range> parts;
  ends.push_back(whole);
  for (const int64_t end : ends) parts.push_back({parts.empty() ? 0 : parts.back().end, end});
  return parts;
}

std::vector<spec::TensorShard> Shards(const std::vector<Range>& heads,
                                      const std::vector<Range>& ffn,
                                      const std::vector<Range>& vocab) {
  std::vector<spec::TensorShard> shards;
  for (size_t i = 0; i < heads.size(); ++i) shards.push_back({heads[i], ffn[i], vocab[i]});
  return shards;
}

// Three stages of 2, 1 and 3 ranks; every part is of another size, none a multiple of a vector.
spec::ShardPlan UnevenPlan(const spec::ModelSpec& m) {
  spec::ShardPlan plan = SmallPlan(m, 1, 1);
  const int64_t h = m.heads, f = m.ffn, v = m.vocab, l = m.layers;
  plan.stages = {{{0, l - 2}, Shards(Cut(h, {h - 2}), Cut(f, {f / 3 + 1}), Cut(v, {v - v / 5}))},
                 {{l - 2, l - 1}, Shards(Cut(h, {}), Cut(f, {}), Cut(v, {}))},
                 {{l - 1, l},
                  Shards(Cut(h, {1, h - 1}), Cut(f, {7, f - 50}), Cut(v, {v / 2 + 3, v / 2 + 4}))}};
  return plan;
}

std::vector<std::vector<int32_t>> PromptsOf(const GoldenModel& golden) {
  std::vector<std::vector<int32_t>> prompts;
  for (const GoldenCase& c : golden.cases) prompts.push_back(c.prompt_ids);
  return prompts;
}

void ExpectGolden(const std::string& name, const spec::ShardPlan& plan) {
  ASSERT_TRUE(spec::CheckShardPlan(ReadSpec(LoadGolden(name).directory), plan).ok());
  const GoldenModel golden = LoadGolden(name);
  const auto source = weights::OpenCheckpoint(golden.directory).value();
  ThreadRanks ranks(ReadSpec(golden.directory), plan, *source, 2);
  const size_t tokens = golden.cases[0].greedy_ids.size();
  const auto generated = Generate(&ranks, PromptsOf(golden), 256, tokens, {.temperature = 0});
  for (size_t i = 0; i < golden.cases.size(); ++i) {
    const GoldenCase& c = golden.cases[i];
    const size_t count = std::min(tokens, c.greedy_ids.size());
    ASSERT_EQ(generated[i].ids.size(), tokens) << name << ", prompt " << i;
    for (size_t t = 0; t < count; ++t) {
      ASSERT_EQ(generated[i].ids[t], c.greedy_ids[t]) << name << ", prompt " << i << " at " << t;
      EXPECT_NEAR(generated[i].logprobs[t], c.greedy_logprobs[t], 1e-3);
    }
  }
}

TEST(UnevenPlan, LayersOverStages) {
  const spec::ModelSpec model = ReadSpec(LoadGolden("fable-14m").directory);
  ASSERT_NE(model.layers % 4, 0);
  ExpectGolden("fable-14m", SmallPlan(model, 1, 4));
  ExpectGolden("fable-14m", SmallPlan(model, 2, 4));
}

TEST(UnevenPlan, HeadsNeuronsRowsAndWidthsOfStages) {
  for (const char* name : {"fable-14m", "tiny-350m-like", "tiny-galactica-like"}) {
    const spec::ModelSpec model = ReadSpec(LoadGolden(name).directory);
    ASSERT_GE(model.layers, 3) << name;
    ExpectGolden(name, UnevenPlan(model));
  }
}

// Nothing here is a multiple of a vector, a panel or a block: head_dim 5, ffn 67, 307 rows.
spec::ModelSpec OddModel() {
  return {.name = "odd",
          .layers = 4,
          .hidden = 30,
          .heads = 6,
          .ffn = 67,
          .vocab = 307,
          .positions = 128,
          .embed = 30};
}

struct Variant {
  const char* name;
  spec::ModelSpec model;
};

std::vector<Variant> OddVariants() {
  std::vector<Variant> variants = {{"plain", OddModel()},
                                   {"projected, post-norm", OddModel()},
                                   {"no final norm, own head", OddModel()},
                                   {"no biases, no norm parameters, gelu", OddModel()}};
  variants[1].model.embed = 19;
  variants[1].model.pre_norm = variants[1].model.final_norm = false;
  variants[2].model.final_norm = variants[2].model.tied = false;
  variants[3].model.bias = variants[3].model.norm_affine = false;
  variants[3].model.activation = spec::Activation::kGelu;
  return variants;
}

TEST(OddModels, UnevenPlansGiveTheTokensOfOneRank) {
  const std::vector<std::vector<int32_t>> prompts = {{2}, {2, 306, 5, 17, 100}, {2, 9, 9, 9}};
  for (const Variant& variant : OddVariants()) {
    const auto source = weights::MakeDummySource(variant.model, {.seed = 3});
    for (const DType dtype : {DType::kFloat16, DType::kBFloat16, DType::kFloat32}) {
      spec::ShardPlan whole = SmallPlan(variant.model, 1, 1), uneven = UnevenPlan(variant.model);
      whole.weight_dtype = uneven.weight_dtype = dtype;
      whole.limits.text_vocab = uneven.limits.text_vocab = 300;  // 7 rows of padding
      ThreadRanks one(variant.model, whole, *source, 1);
      ThreadRanks six(variant.model, uneven, *source, 2);
      const auto expected = Generate(&one, prompts, 256, 20, {.temperature = 0});
      const auto chunked = Generate(&one, prompts, 2, 20, {.temperature = 0});
      const auto split = Generate(&six, prompts, 3, 20, {.temperature = 0});
      for (size_t i = 0; i < prompts.size(); ++i) {
        EXPECT_EQ(expected[i].logprobs, chunked[i].logprobs) << variant.name << " " << Name(dtype);
        EXPECT_EQ(expected[i].ids, split[i].ids) << variant.name << " " << Name(dtype);
        ASSERT_EQ(split[i].logprobs.size(), 20u);
        for (size_t t = 0; t < 20; ++t) {
          EXPECT_LT(split[i].ids[t], 300) << "a row of padding was sampled";
          EXPECT_NEAR(expected[i].logprobs[t], split[i].logprobs[t], 1e-4) << variant.name;
        }
      }
    }
  }
}

}  // namespace
}  // namespace pamir::testing
