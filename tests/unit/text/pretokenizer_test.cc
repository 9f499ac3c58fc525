#include "core/text/pretokenizer.h"

#include <vector>

#include "core/text/unicode_classes.h"
#include "gmock/gmock.h"
#include "text_testing.h"

namespace pamir::text {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> Words(const std::string& text) {
  std::vector<std::string> words;
  for (std::string_view rest = text; !rest.empty();) {
    const size_t length = FirstWordLength(rest);
    words.emplace_back(rest.substr(0, length));
    rest.remove_prefix(length);
  }
  return words;
}

TEST(Pretokenizer, SpaceGoesWithTheWordBehindIt) {
  EXPECT_THAT(Words("Hello world"), ElementsAre("Hello", " world"));
  EXPECT_THAT(Words("a1b"), ElementsAre("a", "1", "b"));
  EXPECT_THAT(Words("a 1 !"), ElementsAre("a", " 1", " !"));
  EXPECT_THAT(Words("x=(1);"), ElementsAre("x", "=(", "1", ");"));
}

TEST(Pretokenizer, WhiteSpaceLeavesItsLastCharacterToTheWord) {
  EXPECT_THAT(Words("a   b"), ElementsAre("a", "  ", " b"));
  EXPECT_THAT(Words("a\n\nb"), ElementsAre("a", "\n", "\n", "b"));
  EXPECT_THAT(Words("a\n b"), ElementsAre("a", "\n", " b"));
  EXPECT_THAT(Words("a\tb"), ElementsAre("a", "\t", "b"));
  EXPECT_THAT(Words("a  "), ElementsAre("a", "  "));
  EXPECT_THAT(Words(" "), ElementsAre(" "));
  EXPECT_THAT(Words("\xC2\xA0\xE3\x80\x80x"), ElementsAre("\xC2\xA0", "\xE3\x80\x80", "x"));
}

TEST(Pretokenizer, ContractionsAreLowerCaseAndStartAWord) {
  EXPECT_THAT(Words("don't"), ElementsAre("don", "'t"));
  EXPECT_THAT(
      Words("we're they've I'll I'd I'm it's"),
      ElementsAre("we", "'re", " they", "'ve", " I", "'ll", " I", "'d", " I", "'m", " it", "'s"));
  EXPECT_THAT(Words("I'M"), ElementsAre("I", "'", "M"));
  EXPECT_THAT(Words("'tis"), ElementsAre("'t", "is"));
  EXPECT_THAT(Words(" 'tis"), ElementsAre(" '", "tis"));
  EXPECT_THAT(Words("''s"), ElementsAre("''", "s"));
  EXPECT_THAT(Words("a'r"), ElementsAre("a", "'", "r"));
  EXPECT_THAT(Words("a'"), ElementsAre("a", "'"));
}

TEST(Pretokenizer, ClassesAreUnicodes) {
  EXPECT_EQ(ClassOf('z'), CharClass::kLetter);
  EXPECT_EQ(ClassOf(0xE9), CharClass::kLetter);
  EXPECT_EQ(ClassOf(0x4E00), CharClass::kLetter);
  EXPECT_EQ(ClassOf(0x9FFF), CharClass::kLetter);
  EXPECT_EQ(ClassOf(0x2CEA1), CharClass::kLetter);  // the last of a range
  EXPECT_EQ(ClassOf(0x2CEA2), CharClass::kOther);   // and one past it
  EXPECT_EQ(ClassOf('7'), CharClass::kNumber);
  EXPECT_EQ(ClassOf(0xBD), CharClass::kNumber);    // one half: No
  EXPECT_EQ(ClassOf(0x2177), CharClass::kNumber);  // small roman eight: Nl
  EXPECT_EQ(ClassOf(0x3000), CharClass::kWhiteSpace);
  EXPECT_EQ(ClassOf(0x85), CharClass::kWhiteSpace);
  EXPECT_EQ(ClassOf(0x1C), CharClass::kOther);    // white space for Python's str, not for \s
  EXPECT_EQ(ClassOf(0x200B), CharClass::kOther);  // zero width space is no White_Space
  EXPECT_EQ(ClassOf(0x301), CharClass::kOther);   // a combining accent: Mn
  EXPECT_EQ(ClassOf(0x10FFFF), CharClass::kOther);
}

// How many code points each class has in Unicode 16: a lost or doubled line of the table shows.
TEST(Pretokenizer, ClassesHaveUnicodesSizes) {
  int letters = 0, numbers = 0, white_space = 0;
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    const CharClass kind = ClassOf(c);
    letters += kind == CharClass::kLetter;
    numbers += kind == CharClass::kNumber;
    white_space += kind == CharClass::kWhiteSpace;
  }
  EXPECT_EQ(letters, 141028);
  EXPECT_EQ(numbers, 1911);
  EXPECT_EQ(white_space, 25);
}

TEST(Pretokenizer, WordsCoverAnyText) {
  const uint32_t seed = NewSeed();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 rng(seed);
  for (int round = 0; round < 300; ++round) {
    const std::string text = RandomText(&rng, rng() % 60);
    std::string joined;
    for (const std::string& word : Words(text)) {
      EXPECT_FALSE(word.empty());
      EXPECT_TRUE(ValidateUtf8(word).ok()) << "a word ends inside a character";
      joined += word;
    }
    EXPECT_EQ(joined, text);
  }
}

}  // namespace
}  // namespace pamir::text
