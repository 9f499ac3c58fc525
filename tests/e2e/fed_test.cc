// The reference answers where arithmetic in another type than float32 could derail a free run: fed
// the reference's ids, every log-probability is near and the arg-max the same wherever the margin
// is not tiny. PAMIR_DTYPE, PAMIR_KV_CACHE_DTYPE, PAMIR_DEVICE and the like choose what is under
// test.
#include <cstdlib>
#include <tuple>

#include "e2e/server.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "support/golden.h"

namespace pamir::testing {
namespace {

struct Tolerance {
  double logprob, margin, perplexity;
};

// tests/golden's README: what must hold in float32 (also where fp16 weights are computed in it, as
// on CPUs), in the 16 bits of a GPU, and with a KV cache in fp8.
Tolerance ToleranceHere() {
  const char* device = std::getenv("PAMIR_DEVICE");
  const char* dtype = std::getenv("PAMIR_DTYPE");
  const char* kv_cache = std::getenv("PAMIR_KV_CACHE_DTYPE");
  if (kv_cache != nullptr && std::string(kv_cache) == "fp8") return {0.5, 1.0, 0.2};
  const bool cpu = device == nullptr || std::string(device) == "cpu";
  const bool float32 = cpu || (dtype != nullptr && std::string(dtype) == "float32");
  return float32 ? Tolerance{1e-3, 1e-3, 0.005} : Tolerance{0.02, 0.05, 0.05};
}

using Ids = std::vector<int32_t>;
using Layout = std::tuple<std::string, int, int>;  // model, tp, pp

class FedTest : public ::testing::TestWithParam<Layout> {};

// All log-probabilities of the ids, fed at once; those of the continuation from `prompt` on.
void ExpectLogprobs(const Client& client, const GoldenCase& c, const Ids& ids, double tolerance) {
  const Result<ScoreResult> score = client.ScoreIds(ids);
  ASSERT_TRUE(score.ok()) << score.error.message;
  std::vector<float> expected = c.prompt_logprobs;
  expected.insert(expected.end(), c.greedy_logprobs.begin(), c.greedy_logprobs.end());
  ASSERT_EQ(score.value.logprobs.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(score.value.logprobs[i], expected[i], tolerance) << c.prompt << " " << i;
  }
}

// The likeliest next token after each part of the continuation.
void ExpectArgMax(const Client& client, const GoldenCase& c, const Tolerance& tolerance) {
  GenerateParams params;
  params.temperature = 0;
  params.logprobs = true;
  params.stop.max_tokens = 1;
  Ids ids = c.prompt_ids;
  for (size_t i = 0; i < c.greedy_ids.size(); ++i) {
    params.prompt_ids = ids;
    const Result<GenerateResult> next = client.Generate(params);
    ASSERT_TRUE(next.ok()) << next.error.message;
    if (c.greedy_margins[i] > tolerance.margin) {
      ASSERT_EQ(next.value.token_ids, Ids{c.greedy_ids[i]}) << c.prompt << " " << i;
      ASSERT_EQ(next.value.logprobs.size(), 1u);
      EXPECT_NEAR(next.value.logprobs[0], c.greedy_logprobs[i], tolerance.logprob)
          << c.prompt << " " << i;
    }
    ids.push_back(c.greedy_ids[i]);
  }
}

TEST_P(FedTest, LogprobsAndArgMax) {
  const auto& [name, tp, pp] = GetParam();
  const GoldenModel golden = LoadGolden(name);
  const Tolerance tolerance = ToleranceHere();
  Server server(
      {"--model", golden.directory, "-tp", std::to_string(tp), "-pp", std::to_string(pp)});
  for (const GoldenCase& c : golden.cases) {
    Ids ids = c.prompt_ids;
    ids.insert(ids.end(), c.greedy_ids.begin(), c.greedy_ids.end());
    ExpectLogprobs(server.client(), c, ids, tolerance.logprob);
    ExpectArgMax(server.client(), c, tolerance);
  }
  EXPECT_EQ(server.Stop(), 0) << server.process().errors();
}

std::vector<Layout> Layouts() {
  std::vector<Layout> layouts;
  for (const char* name : {"fable-14m", "fable-2m", "tiny-350m-like", "tiny-galactica-like"}) {
    for (const int tp : {1, 2}) {
      for (const int pp : {1, 2}) layouts.emplace_back(name, tp, pp);
    }
  }
  return layouts;
}

INSTANTIATE_TEST_SUITE_P(Layouts, FedTest, ::testing::ValuesIn(Layouts()), [](const auto& info) {
  std::string name = std::get<0>(info.param) + "_tp" + std::to_string(std::get<1>(info.param)) +
                     "_pp" + std::to_string(std::get<2>(info.param));
  for (char& c : name) c = c == '-' ? '_' : c;
  return name;
});

// `pamir score --file heldout.txt --window 512`.
class FedHeldOutTest : public ::testing::TestWithParam<const char*> {};

TEST_P(FedHeldOutTest, Perplexity) {
  const GoldenModel golden = LoadGolden(GetParam());
  Server server({"--model", golden.directory});
  const Finished score = RunPamir({"score", "--file", SourcePath("tests/golden/heldout.txt"),
                                   "--window", "512", "--json", "--target", server.target()},
                                  std::chrono::seconds(600));
  ASSERT_EQ(score.status, 0) << score.errors;
  const nlohmann::json out = nlohmann::json::parse(score.output);
  const double perplexity = out.at("perplexity");
  std::printf("perplexity of %s: %.4f, reference %.4f\n", GetParam(), perplexity,
              golden.perplexity);
  EXPECT_EQ(out.at("tokens"), 24655);
  EXPECT_NEAR(perplexity, golden.perplexity, ToleranceHere().perplexity);
}

INSTANTIATE_TEST_SUITE_P(Models, FedHeldOutTest, ::testing::Values("fable-14m", "fable-2m"),
                         [](const auto& info) {
                           std::string name = info.param;
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

}  // namespace
}  // namespace pamir::testing
