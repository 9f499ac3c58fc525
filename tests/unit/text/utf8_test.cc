#include "base/utf8.h"

#include <vector>

#include "gmock/gmock.h"
#include "text_testing.h"

namespace pamir::text {
namespace {

using ::testing::HasSubstr;

std::string Repair(const std::string& bytes) {
  Utf8Repairer repairer;
  std::string out;
  repairer.Push(bytes, &out);
  repairer.Finish(&out);
  return out;
}

TEST(FirstInvalidUtf8, TakesTheFirstAndLastCharacterOfEachLength) {
  EXPECT_EQ(FirstInvalidUtf8(""), std::nullopt);
  EXPECT_EQ(FirstInvalidUtf8(std::string("\0\x7f", 2)), std::nullopt);
  EXPECT_EQ(FirstInvalidUtf8("\u0080\u07ff\u0800\uffff"), std::nullopt);
  EXPECT_EQ(FirstInvalidUtf8("\U00010000\U0010ffff\ud7ff\ue000"), std::nullopt);
}

TEST(FirstInvalidUtf8, RefusesWhatUnicodeRefuses) {
  for (const char* bad : {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2x", "\xe0\x9f\xbf",
                          "\xe1\x80", "\xed\xa0\x80", "\xed\xbf\xbf", "\xf0\x8f\xbf\xbf",
                          "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xf1\x80\x80", "\xff", "\xfe"}) {
    EXPECT_EQ(FirstInvalidUtf8(std::string("ab") + bad), 2u);
    EXPECT_EQ(FirstInvalidUtf8(std::string("ab") + bad + "cd"), 2u);
  }
}

TEST(Utf8, EveryCodePointIsReadAsWritten) {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c == 0xD800) c = 0xE000;
    std::string bytes;
    AppendUtf8(c, &bytes);
    const Utf8Step step = ReadUtf8(bytes);
    ASSERT_EQ(step.kind, Utf8Step::Kind::kValid) << static_cast<uint32_t>(c);
    ASSERT_EQ(step.code_point, c);
    ASSERT_EQ(step.length, bytes.size());
  }
}

TEST(Utf8, ValidationNamesTheOffset) {
  EXPECT_TRUE(ValidateUtf8("").ok());
  EXPECT_TRUE(ValidateUtf8("d\xC3\xA9j\xC3\xA0 \xF0\x9F\x99\x82").ok());
  struct Case {
    const char* what;
    std::string text;
    const char* message;
  };
  const std::vector<Case> cases = {
      {"lone continuation", "ab\x80", "byte 2 (0x80)"},
      {"overlong of two bytes", "\xC0\xAF", "byte 0 (0xc0)"},
      {"overlong of three bytes", "x\xE0\x9F\xBF", "byte 1 (0xe0)"},
      {"overlong of four bytes", "\xF0\x8F\xBF\xBF", "byte 0 (0xf0)"},
      {"surrogate", "xyz\xED\xA0\x80", "byte 3 (0xed)"},
      {"above U+10FFFF", "\xF4\x90\x80\x80", "byte 0 (0xf4)"},
      {"no such first byte", "\xF5\x80\x80\x80", "byte 0 (0xf5)"},
      {"cut off", "\xC3\xA9\xE2\x82", "byte 2 (0xe2)"},
  };
  for (const Case& c : cases) {
    const absl::Status status = ValidateUtf8(c.text);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.what;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.message)) << c.what;
  }
}

// The right sides are Python 3.11's bytes.decode("utf-8", errors="replace").
TEST(Utf8, RepairReplacesAsPythonDoes) {
  const std::string r = "\xEF\xBF\xBD";
  EXPECT_EQ(Repair("a\xFFz"), "a" + r + "z");
  EXPECT_EQ(Repair("\xE2\x82"), r);
  EXPECT_EQ(Repair("\xE2\x82z"), r + "z");
  EXPECT_EQ(Repair("\xE2\xE2\x82\xAC"), r + "\xE2\x82\xAC");
  EXPECT_EQ(Repair("\xC0\xAF"), r + r);
  EXPECT_EQ(Repair("\xED\xA0\x80"), r + r + r);
  EXPECT_EQ(Repair("\xF0\x9F\x99"), r);
  EXPECT_EQ(Repair("\xF0\x9F\x99\xF0\x9F\x99\x82"), r + "\xF0\x9F\x99\x82");
  EXPECT_EQ(Repair("\xF0\x80\x80\x80"), r + r + r + r);
  EXPECT_EQ(Repair("\xF4\x90\x80\x80"), r + r + r + r);
  EXPECT_EQ(Repair("\x80\x80"), r + r);
  EXPECT_EQ(Repair("ok \xC3\xA9"), "ok \xC3\xA9");
}

TEST(Utf8, RepairGivesValidTextAndDoesNotDependOnTheCuts) {
  const uint32_t seed = NewSeed();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 rng(seed);
  for (int round = 0; round < 500; ++round) {
    // Random bytes alone hold few long sequences: mix pieces of real characters in.
    std::string bytes = RandomBytes(&rng, rng() % 8) + RandomText(&rng, rng() % 20);
    for (int i = 0; i < 4 && !bytes.empty(); ++i) bytes.erase(rng() % bytes.size(), 1);
    const std::string whole = Repair(bytes);
    EXPECT_TRUE(ValidateUtf8(whole).ok());
    if (ValidateUtf8(bytes).ok()) {
      EXPECT_EQ(whole, bytes);
    }
    Utf8Repairer repairer;
    std::string pieces;
    for (size_t at = 0; at < bytes.size();) {
      const size_t length = 1 + rng() % 3;
      repairer.Push(bytes.substr(at, length), &pieces);
      EXPECT_TRUE(ValidateUtf8(pieces).ok());
      at += length;
    }
    repairer.Finish(&pieces);
    EXPECT_EQ(pieces, whole);
  }
}

}  // namespace
}  // namespace pamir::text
