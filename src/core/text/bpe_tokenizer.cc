#include "core/text/bpe_tokenizer.h"

#include <array>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "core/text/bpe.h"
#include "core/text/byte_alphabet.h"
#include "core/text/merges.h"
#include "core/text/pretokenizer.h"
#include "core/text/quote.h"
#include "core/text/text_base.h"
#include "core/text/vocab.h"

namespace pamir::text {
namespace {

using ByteIds = std::array<TokenId, 256>;

class BpeTokenizer : public TextBase {
 public:
  BpeTokenizer(TokenTable table, TokenId bos, ByteIds byte_ids, std::vector<Merge> merges)
      : TextBase(std::move(table), bos), byte_ids_(byte_ids), bpe_(std::move(merges)) {}

 private:
  std::vector<TokenId> EncodeValid(const std::string& text) const override {
    std::vector<TokenId> ids;
    Bpe::Workspace workspace;
    for (std::string_view rest = text; !rest.empty();) {
      const size_t length = FirstWordLength(rest), begin = ids.size();
      for (char byte : rest.substr(0, length)) ids.push_back(byte_ids_[static_cast<uint8_t>(byte)]);
      bpe_.MergeTail(begin, &ids, &workspace);
      rest.remove_prefix(length);
    }
    return ids;
  }

  const ByteIds byte_ids_;
  const Bpe bpe_;
};

absl::StatusOr<ByteIds> FindByteIds(const Vocab& vocab) {
  const std::array<std::string, 256> alphabet = ByteAlphabet();
  ByteIds ids{};
  for (int byte = 0; byte < 256; ++byte) {
    ids[byte] = vocab.Find(alphabet[byte]);
    if (ids[byte] < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("vocab.json: no token ", Quote(alphabet[byte]), " for byte 0x",
                       absl::Hex(byte, absl::kZeroPad2),
                       "; byte-level BPE needs one for each of the 256 bytes"));
    }
  }
  return ids;
}

absl::StatusOr<TokenTable> MakeTable(const Vocab& vocab, const TokenizerOptions& options) {
  TokenTable table;
  for (const std::string& token : vocab.tokens)
    table.entries.push_back({BytesOfToken(token), false});
  for (const std::string& special : options.special_tokens) {
    const TokenId id = vocab.Find(special);
    if (id < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("vocab.json: the special token ", Quote(special), " is missing"));
    }
    table.entries[static_cast<size_t>(id)] = {special, true};
  }
  if (!table.Contains(options.bos)) {
    return absl::InvalidArgumentError(absl::StrCat("the leading token's id ", options.bos,
                                                   " is not in the vocabulary of ",
                                                   table.entries.size(), " tokens"));
  }
  return table;
}

// Text must never become a special token.
absl::Status CheckNoSpecial(const Vocab& vocab, const TokenTable& table, const ByteIds& byte_ids,
                            const std::vector<Merge>& merges) {
  const auto check = [&](TokenId id, const char* made_by) {
    if (!table.entries[static_cast<size_t>(id)].special) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(made_by, " the special token ",
                                                   Quote(vocab.tokens[static_cast<size_t>(id)]),
                                                   ", so that plain text could become it"));
  };
  for (TokenId id : byte_ids) PAMIR_RETURN_IF_ERROR(check(id, "a single byte stands for"));
  for (const Merge& merge : merges) {
    PAMIR_RETURN_IF_ERROR(check(merge.result, "merges.txt: a merge makes"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<flow::Text>> MakeTokenizer(const std::string& vocab_json,
                                                          const std::string& merges_txt,
                                                          const TokenizerOptions& options) {
  PAMIR_ASSIGN_OR_RETURN(const Vocab vocab, ParseVocab(vocab_json));
  PAMIR_ASSIGN_OR_RETURN(const ByteIds byte_ids, FindByteIds(vocab));
  PAMIR_ASSIGN_OR_RETURN(TokenTable table, MakeTable(vocab, options));
  PAMIR_ASSIGN_OR_RETURN(std::vector<Merge> merges, ParseMerges(merges_txt, vocab));
  PAMIR_RETURN_IF_ERROR(CheckNoSpecial(vocab, table, byte_ids, merges));
  return std::make_unique<BpeTokenizer>(std::move(table), options.bos, byte_ids, std::move(merges));
}

}  // namespace pamir::text
