// What MakeTokenizer refuses, and that it says which entry.
#include <utility>
#include <vector>

#include "core/text/bpe_tokenizer.h"
#include "core/text/byte_alphabet.h"
#include "gmock/gmock.h"
#include "nlohmann/json.hpp"
#include "text_testing.h"

namespace pamir::text {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// The specials, the 256 byte tokens (byte b is id 4 + place in the alphabet = 4 + b), then `more`.
std::vector<std::string> Tokens(const std::vector<std::string>& more = {}) {
  std::vector<std::string> tokens = {"<s>", "<pad>", "</s>", "<unk>"};
  for (const std::string& byte : ByteAlphabet()) tokens.push_back(byte);
  tokens.insert(tokens.end(), more.begin(), more.end());
  return tokens;
}

std::string VocabJson(const std::vector<std::pair<std::string, std::string>>& entries) {
  std::string json = "{";
  for (const auto& [token, id] : entries) {
    json += (json.size() > 1 ? "," : "") + nlohmann::json(token).dump() + ":" + id;
  }
  return json + "}";
}

std::string VocabJson(const std::vector<std::string>& tokens) {
  std::vector<std::pair<std::string, std::string>> entries;
  for (const std::string& token : tokens)
    entries.emplace_back(token, std::to_string(entries.size()));
  return VocabJson(entries);
}

// A whole vocabulary, with one entry more.
std::string VocabWith(const std::string& token, const std::string& id) {
  std::vector<std::pair<std::string, std::string>> entries;
  for (const std::string& t : Tokens()) entries.emplace_back(t, std::to_string(entries.size()));
  entries.emplace_back(token, id);
  return VocabJson(entries);
}

void ExpectRefused(const std::string& vocab, const std::string& merges, const std::string& why) {
  const auto text = MakeTokenizer(vocab, merges);
  ASSERT_FALSE(text.ok()) << "should be refused: " << why;
  EXPECT_EQ(text.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(text.status().message()), HasSubstr(why));
}

TEST(MakeTokenizer, TakesASmallVocabulary) {
  const auto text = MakeTokenizer(VocabJson(Tokens({"ab", "abc"})), "#version: 0.2\na b\nab c\n");
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ((*text)->vocab_size(), 262);
  EXPECT_EQ((*text)->bos(), 2);
  EXPECT_THAT(*(*text)->Encode("abcab"), ElementsAre(261, 260));
}

TEST(MakeTokenizer, TakesOtherLineEndsAndATokenOutsideTheAlphabet) {
  const auto text = MakeTokenizer(VocabJson(Tokens({"ab", "\xE4\xBD\xA0 x"})), "a b\r\n\r\n");
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_THAT(*(*text)->Encode("ab"), ElementsAre(260));
  EXPECT_EQ(*(*text)->Decode({261}, true), "\xE4\xBD\xA0 x");
}

TEST(MakeTokenizer, TakesAnotherLeadingToken) {
  const auto text = MakeTokenizer(VocabJson(Tokens()), "", {.bos = 0});
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ((*text)->bos(), 0);
  EXPECT_FALSE(MakeTokenizer(VocabJson(Tokens()), "", {.bos = 260}).ok());
  EXPECT_FALSE(MakeTokenizer(VocabJson(Tokens()), "", {.bos = -1}).ok());
}

TEST(MakeTokenizer, RefusesMalformedJson) {
  ExpectRefused("", "", "not valid JSON");
  ExpectRefused("{\"a\": 1", "", "not valid JSON at byte");
  ExpectRefused("{\"a\": 1} trailing", "", "not valid JSON");
  ExpectRefused("{\"\xFF\": 1}", "", "not valid JSON");
  ExpectRefused("[1, 2]", "", "found an array");
  ExpectRefused("7", "", "found a number");
  ExpectRefused("null", "", "found null");
  ExpectRefused("{}", "", "no entries");
  ExpectRefused(std::string(100000, '['), "", "found an array");
}

TEST(MakeTokenizer, RefusesIdsThatAreNoWholeNumbers) {
  ExpectRefused(VocabWith("ab", "1.5"), "", "token \"ab\" must have a whole number");
  ExpectRefused(VocabWith("ab", "\"260\""), "", "token \"ab\" must have a whole number");
  ExpectRefused(VocabWith("ab", "null"), "", "token \"ab\" must have a whole number");
  ExpectRefused(VocabWith("ab", "true"), "", "token \"ab\" must have a whole number");
  ExpectRefused(VocabWith("ab", "{\"id\":260}"), "", "token \"ab\" must have a whole number");
  ExpectRefused(VocabWith("ab", "[260]"), "", "token \"ab\" must have a whole number");
}

TEST(MakeTokenizer, RefusesIdsThatAreNotDense) {
  ExpectRefused(VocabWith("ab", "-1"), "", "token \"ab\" has the negative id -1");
  ExpectRefused(VocabWith("ab", "261"), "", "token \"ab\" has id 261");
  ExpectRefused(VocabWith("ab", "18446744073709551615"), "",
                "token \"ab\" has id 1844674407370955");
  ExpectRefused(VocabWith("ab", "99999999999999999999999"), "", "token \"ab\" must have a whole");
}

TEST(MakeTokenizer, RefusesDuplicates) {
  ExpectRefused(VocabWith("a", "260"), "", "token \"a\" is there twice, with the ids 101 and 260");
  ExpectRefused(VocabWith("ab", "101"), "", "both have id 101");
}

TEST(MakeTokenizer, RefusesBadTokens) {
  ExpectRefused(VocabWith("", "260"), "", "empty token");
  ExpectRefused(VocabWith(std::string(1025, 'a'), "260"), "", "longer than 1024 bytes");
}

TEST(MakeTokenizer, RefusesAVocabularyWithoutAByteOrASpecialToken) {
  std::vector<std::string> tokens = Tokens();
  tokens[4 + '\n'] = "xx";  // in the place of the line feed's token
  ExpectRefused(VocabJson(tokens), "", "for byte 0x0a");
  tokens = Tokens();
  tokens[1] = "xx";
  ExpectRefused(VocabJson(tokens), "", "the special token \"<pad>\" is missing");
}

TEST(MakeTokenizer, RefusesMalformedMergeLines) {
  const std::string vocab = VocabJson(Tokens({"ab"}));
  for (const char* line : {"ab", "a b c", " b", "a ", "a  b", "a\tb", ""}) {
    ExpectRefused(vocab, "#version: 0.2\na b\n" + std::string(line) + "\na c\n",
                  "merges.txt, line 3: ");
  }
  ExpectRefused(vocab, "a b\n#version: 0.2\n", "merges.txt, line 2: ");
}

TEST(MakeTokenizer, RefusesMergesThatTheVocabularyLacks) {
  const std::string vocab = VocabJson(Tokens({"ab"}));
  ExpectRefused(vocab, "zz b\n", "line 1: vocab.json has no token \"zz\"");
  ExpectRefused(vocab, "a b\nab zz\n", "line 2: vocab.json has no token \"zz\"");
  ExpectRefused(vocab, "a c\n", "line 1: vocab.json has no token \"ac\"");
  ExpectRefused(vocab, "a \xFF\n", "vocab.json has no token \"\\xff\"");
}

TEST(MakeTokenizer, RefusesTheSameMergeTwice) {
  ExpectRefused(VocabJson(Tokens({"ab"})), "a b\na b\n",
                "line 2: the merge \"a b\" is there twice");
}

TEST(MakeTokenizer, RefusesMergesThatMakeASpecialToken) {
  ExpectRefused(VocabJson(Tokens({"<s"})), "< s\n<s >\n", "the special token \"<s>\"");
}

}  // namespace
}  // namespace pamir::text
