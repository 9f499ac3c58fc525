// The reference answers through real processes: every shard plan, every greedy token.
#include "support/golden.h"

#include <tuple>

#include "e2e/server.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace pamir::testing {
namespace {

using Layout = std::tuple<std::string, int, int>;  // model, tp, pp

class GoldenServerTest : public ::testing::TestWithParam<Layout> {};

TEST_P(GoldenServerTest, GreedyTokensAndLogprobs) {
  const auto& [name, tp, pp] = GetParam();
  const GoldenModel golden = LoadGolden(name);
  Server server(
      {"--model", golden.directory, "-tp", std::to_string(tp), "-pp", std::to_string(pp)});
  for (const GoldenCase& c : golden.cases) {
    GenerateParams params;
    params.prompt = c.prompt;
    params.temperature = 0;
    params.logprobs = true;
    params.stop.max_tokens = static_cast<int32_t>(c.greedy_ids.size());
    const Result<GenerateResult> result = server.client().Generate(params);
    ASSERT_TRUE(result.ok()) << result.error.message;
    EXPECT_EQ(result.value.prompt_token_ids, c.prompt_ids);
    ASSERT_EQ(result.value.token_ids, c.greedy_ids) << c.prompt;
    EXPECT_EQ(result.value.text, c.greedy_text);
    ASSERT_EQ(result.value.logprobs.size(), c.greedy_logprobs.size());
    for (size_t i = 0; i < c.greedy_logprobs.size(); ++i) {
      EXPECT_NEAR(result.value.logprobs[i], c.greedy_logprobs[i], 1e-3) << c.prompt << " " << i;
    }
    const Result<ScoreResult> score = server.client().Score(c.prompt);
    ASSERT_TRUE(score.ok()) << score.error.message;
    ASSERT_EQ(score.value.logprobs.size(), c.prompt_logprobs.size());
    for (size_t i = 0; i < c.prompt_logprobs.size(); ++i) {
      EXPECT_NEAR(score.value.logprobs[i], c.prompt_logprobs[i], 1e-3) << c.prompt << " " << i;
    }
  }
  EXPECT_TRUE(BecomesIdle(server.client(), std::chrono::seconds(10)));
  EXPECT_EQ(server.Stop(), 0) << server.process().errors();
}

std::vector<Layout> Layouts() {
  std::vector<Layout> layouts;
  for (const int tp : {1, 2, 3, 6}) {
    for (const int pp : {1, 2, 3, 6}) layouts.emplace_back("fable-14m", tp, pp);
  }
  for (const char* name : {"fable-2m", "tiny-350m-like", "tiny-galactica-like"}) {
    for (const int tp : {1, 2}) {
      for (const int pp : {1, 2}) layouts.emplace_back(name, tp, pp);
    }
  }
  layouts.emplace_back("tiny-350m-like", 4, 3);
  layouts.emplace_back("tiny-galactica-like", 4, 3);
  return layouts;
}

INSTANTIATE_TEST_SUITE_P(Layouts, GoldenServerTest, ::testing::ValuesIn(Layouts()),
                         [](const auto& info) {
                           std::string name = std::get<0>(info.param) + "_tp" +
                                              std::to_string(std::get<1>(info.param)) + "_pp" +
                                              std::to_string(std::get<2>(info.param));
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

// `pamir score --file heldout.txt --window 512`, word for word.
void ExpectPerplexity(const std::string& model, double tolerance) {
  const GoldenModel golden = LoadGolden(model);
  Server server({"--model", golden.directory});
  const Finished score = RunPamir({"score", "--file", SourcePath("tests/golden/heldout.txt"),
                                   "--window", "512", "--json", "--target", server.target()},
                                  std::chrono::seconds(600));
  ASSERT_EQ(score.status, 0) << score.errors;
  const nlohmann::json out = nlohmann::json::parse(score.output);
  EXPECT_EQ(out.at("tokens"), 24655);
  EXPECT_NEAR(out.at("perplexity").get<double>(), golden.perplexity, tolerance);
  EXPECT_EQ(out.at("token_ids").size(), 24656u);
  EXPECT_TRUE(out.at("logprobs").at(0).is_null());
}

TEST(HeldOut, PerplexityOfFable14m) { ExpectPerplexity("fable-14m", 0.005); }
TEST(HeldOut, PerplexityOfFable2m) { ExpectPerplexity("fable-2m", 0.005); }

TEST(CommandLine, GenerateStreamsTheGoldenText) {
  const GoldenModel golden = LoadGolden("fable-14m");
  Server server({"--model", golden.directory, "-tp", "2"});
  const Finished plain = RunPamir({"generate", "--prompt", golden.cases[0].prompt, "--max-tokens",
                                   "64", "--temperature", "0", "--target", server.target()});
  EXPECT_EQ(plain.status, 0) << plain.errors;
  EXPECT_EQ(plain.output, golden.cases[0].greedy_text + "\n");
  const Finished json =
      RunPamir({"generate", "--prompt", golden.cases[0].prompt, "--max-tokens", "64",
                "--temperature", "0", "--json", "--target", server.target()});
  ASSERT_EQ(json.status, 0) << json.errors;
  const nlohmann::json out = nlohmann::json::parse(json.output);
  EXPECT_EQ(out.at("choices").at(0).at("token_ids"), golden.cases[0].greedy_ids);
  EXPECT_EQ(out.at("choices").at(0).at("finish_reason"), "length");
  EXPECT_EQ(out.at("prompt_token_ids"), golden.cases[0].prompt_ids);
  EXPECT_EQ(out.at("usage").at("completion_tokens"), 64);
}

}  // namespace
}  // namespace pamir::testing
