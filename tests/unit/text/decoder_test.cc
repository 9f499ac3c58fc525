// Tokens to text: special tokens, half characters, stop strings over tokens.
#include <thread>

#include "core/text/byte_tokenizer.h"
#include "gmock/gmock.h"
#include "pamir/limits.h"
#include "text_testing.h"

namespace pamir::text {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kReplacement[] = "\xEF\xBF\xBD";
constexpr TokenId kFirstByte = 4;

const flow::Text& Fable() {
  static const flow::Text* const text = LoadTokenizer("configs/models/fable-2m").release();
  return *text;
}

std::vector<TokenId> ByteIds(const std::string& bytes) {
  std::vector<TokenId> ids;
  for (char byte : bytes) ids.push_back(kFirstByte + static_cast<uint8_t>(byte));
  return ids;
}

struct Streamed {
  std::string text;
  int tokens_until_stop = 0;  // 0: not stopped
};

Streamed Stream(const flow::Text& text, const std::vector<TokenId>& ids,
                const std::vector<std::string>& stops) {
  const auto decoder = text.NewDecoder(stops);
  Streamed streamed;
  for (size_t i = 0; i < ids.size(); ++i) {
    const auto piece = decoder->Feed(ids[i]);
    EXPECT_TRUE(ValidateUtf8(piece.bytes).ok()) << "a piece ends inside a character";
    streamed.text += piece.bytes;
    if (piece.stopped && streamed.tokens_until_stop == 0) {
      streamed.tokens_until_stop = static_cast<int>(i) + 1;
    }
  }
  streamed.text += decoder->Flush();
  return streamed;
}

TEST(ByteTokenizer, HasOneIdForEachByte) {
  const auto text = MakeByteTokenizer();
  EXPECT_EQ(text->vocab_size(), 260);
  EXPECT_EQ(text->bos(), 2);
  EXPECT_THAT(*text->Encode("a\xC3\xA9"), ElementsAre(4 + 'a', 4 + 0xC3, 4 + 0xA9));
  EXPECT_EQ(*text->Decode({4 + 'a', 4 + 0xC3, 4 + 0xA9}, true), "a\xC3\xA9");
  EXPECT_FALSE(text->Encode("\xFF").ok());
}

TEST(Decode, SpecialTokensAreSilentOrSpelledOut) {
  EXPECT_EQ(*Fable().Decode({2, 0, 1, 3}, true), "");
  EXPECT_EQ(*Fable().Decode({2, 0, 1, 3}, false), "</s><s><pad><unk>");
  EXPECT_EQ(*MakeByteTokenizer()->Decode({2, 4 + 'x', 2}, false), "</s>x</s>");
}

TEST(Decode, RefusesIdsOutOfRange) {
  for (TokenId bad : {-1, 6144, 1 << 30}) {
    const auto text = Fable().Decode({5, bad}, true);
    ASSERT_EQ(text.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(text.status().message()),
                HasSubstr("token id " + std::to_string(bad) + " at index 1"));
  }
}

TEST(Decode, HasLimits) {
  EXPECT_EQ(Fable().Decode(std::vector<TokenId>(kMaxTokenIds + 1, 5), true).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(Fable().Decode(std::vector<TokenId>(kMaxTokenIds, 5), true).ok());
  EXPECT_EQ(Fable().Encode(std::string(kMaxTextBytes + 1, 'a')).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(Decoder, HoldsHalfACharacterBack) {
  const auto text = MakeByteTokenizer();
  const auto decoder = text->NewDecoder({});
  EXPECT_EQ(decoder->Feed(kFirstByte + 'a').bytes, "a");
  EXPECT_EQ(decoder->Feed(kFirstByte + 0xE2).bytes, "");
  EXPECT_EQ(decoder->Feed(kFirstByte + 0x82).bytes, "");
  EXPECT_EQ(decoder->Feed(2).bytes, "") << "a special token does not end the character";
  EXPECT_EQ(decoder->Feed(kFirstByte + 0xAC).bytes, "\xE2\x82\xAC");
  EXPECT_EQ(decoder->Feed(kFirstByte + 0xF0).bytes, "");
  EXPECT_EQ(decoder->Feed(kFirstByte + 'b').bytes, std::string(kReplacement) + "b");
  EXPECT_EQ(decoder->Feed(kFirstByte + 0xC3).bytes, "");
  EXPECT_EQ(decoder->Flush(), kReplacement);
}

TEST(Decoder, IgnoresIdsOutOfRange) { EXPECT_EQ(Stream(Fable(), {-1, 6144, 50271}, {}).text, ""); }

TEST(Decoder, OutlivesTheTokenizer) {
  auto text = MakeByteTokenizer();
  const auto decoder = text->NewDecoder({});
  text.reset();
  EXPECT_EQ(decoder->Feed(kFirstByte + 'a').bytes, "a");
}

TEST(Decoder, FindsAStopStringThatSpansTokensOrLiesInsideOne) {
  const std::vector<TokenId> ids = *Fable().Encode("Once upon a time there was a king.");
  Streamed streamed = Stream(Fable(), ids, {"me the"});
  EXPECT_EQ(streamed.text, "Once upon a ti");
  EXPECT_GT(streamed.tokens_until_stop, 0);
  streamed = Stream(Fable(), ids, {"po"});
  EXPECT_EQ(streamed.text, "Once u");
  streamed = Stream(Fable(), ids, {"queen"});
  EXPECT_EQ(streamed.text, "Once upon a time there was a king.");
  EXPECT_EQ(streamed.tokens_until_stop, 0);
}

TEST(Decoder, AStopStringsBeginningThatTurnsOutToBeOne) {
  const auto text = MakeByteTokenizer();
  const auto decoder = text->NewDecoder({"###"});
  std::string out;
  for (TokenId id : ByteIds("a##b##")) {
    const auto piece = decoder->Feed(id);
    EXPECT_FALSE(piece.stopped);
    out += piece.bytes;
  }
  EXPECT_EQ(out, "a##b");
  const auto last = decoder->Feed(kFirstByte + '#');
  EXPECT_TRUE(last.stopped);
  EXPECT_EQ(last.bytes, "");
  EXPECT_TRUE(decoder->Feed(kFirstByte + 'c').stopped);
  EXPECT_EQ(decoder->Feed(kFirstByte + 'c').bytes, "");
  EXPECT_EQ(decoder->Flush(), "");
}

TEST(Decoder, StopStringsMayBeOfSeveralBytesOrAReplacement) {
  EXPECT_EQ(Stream(*MakeByteTokenizer(), ByteIds("caf\xC3\xA9s"), {"\xC3\xA9"}).text, "caf");
  EXPECT_EQ(Stream(*MakeByteTokenizer(), ByteIds("a\xC3"), {kReplacement}).text, "a");
}

// All pieces and the Flush are what Decode says, for any ids at all.
TEST(Decoder, PiecesTogetherAreTheWholeText) {
  const uint32_t seed = NewSeed();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 rng(seed);
  const auto bytes = MakeByteTokenizer();
  for (int round = 0; round < 300; ++round) {
    for (const flow::Text* text : {&Fable(), static_cast<const flow::Text*>(bytes.get())}) {
      std::vector<TokenId> ids(rng() % 60);
      const uint32_t range = rng() % 2 == 0 ? 260 : static_cast<uint32_t>(text->vocab_size());
      for (TokenId& id : ids) id = static_cast<TokenId>(rng() % range);
      const std::string whole = *text->Decode(ids, true);
      EXPECT_TRUE(ValidateUtf8(whole).ok());
      EXPECT_EQ(Stream(*text, ids, {}).text, whole);
      EXPECT_EQ(Stream(*text, ids, {"never seen in here, as it is so long"}).text, whole);
    }
  }
}

TEST(RoundTrip, AnyValidTextComesBack) {
  const uint32_t seed = NewSeed();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 rng(seed);
  for (int round = 0; round < 500; ++round) {
    const std::string text = RandomText(&rng, rng() % 80);
    const auto ids = Fable().Encode(text);
    ASSERT_TRUE(ids.ok()) << ids.status();
    for (TokenId id : *ids) EXPECT_GE(id, 4) << "text became a special token";
    EXPECT_EQ(*Fable().Decode(*ids, true), text);
    EXPECT_EQ(Stream(Fable(), *ids, {}).text, text);
  }
}

TEST(RoundTrip, AnyBytesAreEncodedOrRefused) {
  const uint32_t seed = NewSeed();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 rng(seed);
  for (int round = 0; round < 500; ++round) {
    const std::string bytes = RandomBytes(&rng, rng() % 6);
    const auto ids = Fable().Encode(bytes);
    // Decoding the same bytes one by one tells independently whether anything had to be replaced.
    const bool valid = *MakeByteTokenizer()->Decode(ByteIds(bytes), true) == bytes;
    EXPECT_EQ(ids.ok(), valid);
    if (ids.ok()) {
      EXPECT_EQ(*Fable().Decode(*ids, true), bytes);
    }
  }
}

TEST(RoundTrip, AMegabyteOfOneLetter) {
  const std::string text(kMaxTextBytes, 'x');
  const auto ids = Fable().Encode(text);
  ASSERT_TRUE(ids.ok());
  EXPECT_EQ(*Fable().Decode(*ids, true), text);
}

TEST(Text, ManyThreadsEncodeAtOnce) {
  const std::string prompt = "The king's daughter, who was 17, sat by the well.";
  const std::vector<TokenId> expected = *Fable().Encode(prompt);
  std::vector<std::vector<TokenId>> got(4);
  std::vector<std::thread> threads;
  for (auto& ids : got) threads.emplace_back([&] { ids = *Fable().Encode(prompt); });
  for (std::thread& thread : threads) thread.join();
  for (const auto& ids : got) EXPECT_EQ(ids, expected);
}

}  // namespace
}  // namespace pamir::text
