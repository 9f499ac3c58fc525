// Against Hugging Face's tokenizer: tests/golden/golden.json, and hf_cases.json (random text and
// ids, made by make_hf_cases.py).
#include "nlohmann/json.hpp"
#include "text_testing.h"

namespace pamir::text {
namespace {

using Json = nlohmann::json;

Json Golden() { return Json::parse(ReadFile("tests/golden/golden.json")); }

std::vector<TokenId> WithBos(const flow::Text& text, const std::string& prompt) {
  std::vector<TokenId> ids = {text.bos()};
  const auto rest = text.Encode(prompt);
  EXPECT_TRUE(rest.ok()) << rest.status();
  if (rest.ok()) ids.insert(ids.end(), rest->begin(), rest->end());
  return ids;
}

TEST(GoldenText, TokenizerCases) {
  const auto text = LoadTokenizer("configs/models/fable-14m");
  ASSERT_NE(text, nullptr);
  const Json cases = Golden()["tokenizer"];
  EXPECT_EQ(cases.size(), 22u);
  for (const Json& c : cases) {
    const auto ids = text->Encode(c["text"].get<std::string>());
    ASSERT_TRUE(ids.ok()) << ids.status();
    EXPECT_EQ(*ids, c["ids"].get<std::vector<TokenId>>()) << c["text"];
    EXPECT_EQ(*text->Decode(*ids, true), c["text"].get<std::string>());
  }
}

TEST(GoldenText, PromptsAndGreedyTextsOfAllModels) {
  const Json golden = Golden();
  int cases = 0;
  for (const char* folder :
       {"configs/models/fable-14m", "configs/models/fable-2m", "tests/golden/models/tiny-350m-like",
        "tests/golden/models/tiny-galactica-like"}) {
    const auto text = LoadTokenizer(folder);
    ASSERT_NE(text, nullptr);
    const std::string model = std::string(folder).substr(std::string(folder).rfind('/') + 1);
    for (const Json& c : golden[model]["cases"]) {
      SCOPED_TRACE(model + ": " + c["prompt"].get<std::string>().substr(0, 60));
      EXPECT_EQ(WithBos(*text, c["prompt"].get<std::string>()),
                c["prompt_ids"].get<std::vector<TokenId>>());
      const auto greedy = c["greedy_ids"].get<std::vector<TokenId>>();
      const std::string expected = c["greedy_text"].get<std::string>();
      EXPECT_EQ(*text->Decode(greedy, true), expected);
      const auto decoder = text->NewDecoder({"no such stop string"});
      std::string streamed;
      for (TokenId token : greedy) streamed += decoder->Feed(token).bytes;
      EXPECT_EQ(streamed + decoder->Flush(), expected);
      ++cases;
    }
  }
  EXPECT_GE(cases, 20);
}

TEST(GoldenText, HeldoutHasAsManyTokens) {
  const auto text = LoadTokenizer("configs/models/fable-14m");
  ASSERT_NE(text, nullptr);
  const std::string heldout = ReadFile("tests/golden/heldout.txt");
  const std::vector<TokenId> ids = WithBos(*text, heldout);
  EXPECT_EQ(ids.size(), Golden()["fable-14m"]["heldout_tokens"].get<size_t>());
  EXPECT_EQ(*text->Decode(ids, true), heldout);
}

TEST(GoldenText, RandomTextEqualsHuggingFaces) {
  const auto text = LoadTokenizer("configs/models/fable-14m");
  ASSERT_NE(text, nullptr);
  const Json cases = Json::parse(ReadFile("tests/unit/text/hf_cases.json"));
  EXPECT_GE(cases["encode"].size(), 250u);
  for (const Json& c : cases["encode"]) {
    const auto ids = text->Encode(c["text"].get<std::string>());
    ASSERT_TRUE(ids.ok()) << ids.status();
    EXPECT_EQ(*ids, c["ids"].get<std::vector<TokenId>>()) << c["text"].dump(-1, ' ', true);
  }
  EXPECT_GE(cases["decode"].size(), 250u);
  for (const Json& c : cases["decode"]) {
    EXPECT_EQ(*text->Decode(c["ids"].get<std::vector<TokenId>>(), true),
              c["text"].get<std::string>());
  }
}

}  // namespace
}  // namespace pamir::text
