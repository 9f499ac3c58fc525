#include "core/text/stop_matcher.h"

#include <algorithm>

#include "text_testing.h"

namespace pamir::text {
namespace {

struct Outcome {
  std::string text;
  bool stopped = false;
  friend bool operator==(const Outcome&, const Outcome&) = default;
};

Outcome Match(const std::vector<std::string>& stops, const std::vector<std::string>& pieces) {
  StopMatcher matcher(stops);
  Outcome outcome;
  for (const std::string& piece : pieces) outcome.stopped = matcher.Push(piece, &outcome.text);
  if (!outcome.stopped) matcher.Finish(&outcome.text);
  return outcome;
}

// The definition: after each byte, does the text end with a stop string?
Outcome MatchByDefinition(const std::vector<std::string>& stops, const std::string& text) {
  for (size_t end = 1; end <= text.size(); ++end) {
    size_t longest = 0;
    for (const std::string& stop : stops) {
      if (!stop.empty() && text.substr(0, end).ends_with(stop)) {
        longest = std::max(longest, stop.size());
      }
    }
    if (longest > 0) return {text.substr(0, end - longest), true};
  }
  return {text, false};
}

TEST(StopMatcher, NoStopStringsHoldNothingBack) {
  StopMatcher matcher({});
  std::string out;
  EXPECT_FALSE(matcher.Push("abc", &out));
  EXPECT_EQ(out, "abc");
}

TEST(StopMatcher, HoldsBackWhatMayBecomeAStopString) {
  StopMatcher matcher({"END"});
  std::string out;
  EXPECT_FALSE(matcher.Push("the E", &out));
  EXPECT_EQ(out, "the ");
  EXPECT_FALSE(matcher.Push("N", &out));
  EXPECT_EQ(out, "the ");
  EXPECT_FALSE(matcher.Push("T", &out)) << "it was only a beginning: all of it comes out";
  EXPECT_EQ(out, "the ENT");
  EXPECT_FALSE(matcher.Push(" E", &out));
  EXPECT_TRUE(matcher.Push("ND of it", &out)) << "this beginning turns out to be one";
  EXPECT_EQ(out, "the ENT ");
  EXPECT_TRUE(matcher.Push("more", &out));
  EXPECT_EQ(out, "the ENT ") << "what comes after the end is dropped";
}

TEST(StopMatcher, FinishGivesOutAnUnfulfilledBeginning) {
  EXPECT_EQ(Match({"END"}, {"the E", "N"}), (Outcome{"the EN", false}));
}

TEST(StopMatcher, FindsAStopStringInTheMiddleOfAPiece) {
  EXPECT_EQ(Match({"\n\n"}, {"one\n\ntwo"}), (Outcome{"one", true}));
  EXPECT_EQ(Match({"one"}, {"one"}), (Outcome{"", true}));
}

TEST(StopMatcher, ABeginningInsideABeginningIsNotLost) {
  EXPECT_EQ(Match({"aab"}, {"a", "a", "a", "b"}), (Outcome{"a", true}));
  EXPECT_EQ(Match({"ababc"}, {"ababababc"}), (Outcome{"abab", true}));
}

TEST(StopMatcher, TheFirstToBeCompleteWinsAndOfEqualsTheLongest) {
  EXPECT_EQ(Match({"world", "lo"}, {"hello world"}), (Outcome{"hel", true}));
  EXPECT_EQ(Match({"lo", "hello"}, {"hello world"}), (Outcome{"", true}));
  EXPECT_EQ(Match({"abcd", "bc"}, {"xabcd"}), (Outcome{"xa", true}));
}

TEST(StopMatcher, LeavesOutWhatCannotBeSeen) {
  EXPECT_EQ(Match({"", "\x80"}, {"caf\xC3\xA9 \xE2\x82\x80"}),
            (Outcome{"caf\xC3\xA9 \xE2\x82\x80", false}));
}

TEST(StopMatcher, RandomTextsEqualTheDefinitionHoweverTheyAreCut) {
  const uint32_t seed = NewSeed();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 rng(seed);
  const auto word = [&rng](size_t length) {
    std::string letters;
    while (letters.size() < length) letters += static_cast<char>('a' + rng() % 2);
    return letters;
  };
  int stopped = 0;
  for (int round = 0; round < 2000; ++round) {
    std::vector<std::string> stops;
    for (size_t i = rng() % 4; i > 0; --i) stops.push_back(word(2 + rng() % 6));
    const std::string text = word(rng() % 40);
    std::vector<std::string> pieces;
    for (size_t at = 0; at < text.size(); at += pieces.back().size()) {
      pieces.push_back(text.substr(at, 1 + rng() % 5));
    }
    const Outcome expected = MatchByDefinition(stops, text);
    ASSERT_EQ(Match(stops, pieces), expected) << text;
    stopped += expected.stopped;
  }
  EXPECT_GT(stopped, 200) << "the test must see both outcomes";
  EXPECT_LT(stopped, 1800);
}

}  // namespace
}  // namespace pamir::text
