#include "gateway/utf8.h"

#include "gtest/gtest.h"

namespace pamir::gateway {
namespace {

TEST(Utf8, TakesTheFirstAndLastCharacterOfEachLength) {
  EXPECT_EQ(FirstInvalidUtf8(""), std::nullopt);
  EXPECT_EQ(FirstInvalidUtf8(std::string("\0\x7f", 2)), std::nullopt);
  EXPECT_EQ(FirstInvalidUtf8("\u0080\u07ff\u0800\uffff"), std::nullopt);
  EXPECT_EQ(FirstInvalidUtf8("\U00010000\U0010ffff\ud7ff\ue000"), std::nullopt);
}

TEST(Utf8, RefusesWhatUnicodeRefuses) {
  for (const char* bad : {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2x", "\xe0\x9f\xbf",
                          "\xe1\x80", "\xed\xa0\x80", "\xed\xbf\xbf", "\xf0\x8f\xbf\xbf",
                          "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xf1\x80\x80", "\xff", "\xfe"}) {
    EXPECT_EQ(FirstInvalidUtf8(std::string("ab") + bad), 2u);
    EXPECT_EQ(FirstInvalidUtf8(std::string("ab") + bad + "cd"), 2u);
  }
}

}  // namespace
}  // namespace pamir::gateway
