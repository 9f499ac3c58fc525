#include "core/text/byte_tokenizer.h"

#include <string>
#include <utility>
#include <vector>

#include "core/text/text_base.h"

namespace pamir::text {
namespace {

constexpr TokenId kFirstByteId = 4;
constexpr TokenId kBos = 2;

class ByteTokenizer : public TextBase {
 public:
  using TextBase::TextBase;

 private:
  std::vector<TokenId> EncodeValid(const std::string& text) const override {
    std::vector<TokenId> ids;
    ids.reserve(text.size());
    for (char byte : text) ids.push_back(kFirstByteId + static_cast<uint8_t>(byte));
    return ids;
  }
};

}  // namespace

std::unique_ptr<flow::Text> MakeByteTokenizer() {
  TokenTable table;
  for (const char* special : {"<s>", "<pad>", "</s>", "<unk>"}) {
    table.entries.push_back({special, true});
  }
  for (int byte = 0; byte < 256; ++byte) {
    table.entries.push_back({std::string(1, static_cast<char>(byte)), false});
  }
  return std::make_unique<ByteTokenizer>(std::move(table), kBos);
}

}  // namespace pamir::text
