#include "unit/gateway/byte_text.h"

#include <algorithm>
#include <utility>

#include "base/utf8.h"

namespace pamir::gateway {
namespace {

// Bytes at the end of `text` that may begin a character and do not complete it.
size_t UnfinishedBytes(const std::string& text) {
  const auto bad = FirstInvalidUtf8(text);
  return bad.has_value() && text.size() - *bad < 4 ? text.size() - *bad : 0;
}

// The longest end of `text` that a stop string begins with.
size_t PossibleStop(const std::string& text, const std::vector<std::string>& stops) {
  size_t longest = 0;
  for (const std::string& stop : stops) {
    for (size_t n = std::min(stop.size(), text.size()); n > longest; --n) {
      if (text.compare(text.size() - n, n, stop, 0, n) == 0) longest = n;
    }
  }
  return longest;
}

class ByteDecoder final : public flow::TextDecoder {
 public:
  explicit ByteDecoder(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  Piece Feed(TokenId token) override {
    if (token < ByteText::kFirstByte) return {};
    held_ += static_cast<char>(token - ByteText::kFirstByte);
    size_t found = std::string::npos;
    for (const std::string& stop : stops_) found = std::min(found, held_.find(stop));
    if (found != std::string::npos) return {held_.substr(0, found), true};
    const size_t keep = std::max(UnfinishedBytes(held_), PossibleStop(held_, stops_));
    Piece piece{held_.substr(0, held_.size() - keep), false};
    held_.erase(0, held_.size() - keep);
    return piece;
  }

  std::string Flush() override {
    const size_t unfinished = UnfinishedBytes(held_);
    std::string rest = held_.substr(0, held_.size() - unfinished);
    return unfinished == 0 ? rest : rest + "\xEF\xBF\xBD";
  }

 private:
  const std::vector<std::string> stops_;
  std::string held_;
};

}  // namespace

absl::StatusOr<std::vector<TokenId>> ByteText::Encode(const std::string& text) const {
  if (!text.empty() && text[0] == '#') {
    absl::MutexLock lock(&mutex_);
    ++held_;
    mutex_.Await(absl::Condition(this, &ByteText::Released));
  }
  std::vector<TokenId> ids;
  for (const char byte : text) ids.push_back(TokenOf(byte));
  return ids;
}

absl::StatusOr<std::string> ByteText::Decode(const std::vector<TokenId>& ids,
                                             bool skip_special) const {
  std::string text;
  for (const TokenId id : ids) {
    if (id >= kFirstByte) {
      text += static_cast<char>(id - kFirstByte);
    } else if (!skip_special) {
      text += "</s>";
    }
  }
  return text;
}

std::unique_ptr<flow::TextDecoder> ByteText::NewDecoder(std::vector<std::string> stop) const {
  return std::make_unique<ByteDecoder>(std::move(stop));
}

void ByteText::Release() {
  absl::MutexLock lock(&mutex_);
  released_ = true;
}

void ByteText::WaitHeld(int count) const {
  absl::MutexLock lock(&mutex_);
  const auto enough = [this, count] { return held_ >= count; };
  mutex_.Await(absl::Condition(&enough));
}

}  // namespace pamir::gateway
