#include "base/utf8.h"

#include "absl/strings/str_cat.h"

namespace pamir {
namespace {

constexpr char kReplacement[] = "\xEF\xBF\xBD";  // U+FFFD

// What may follow a first byte. The second byte's range is narrower than 80..BF where a wider one
// would allow overlong forms, surrogates or values above U+10FFFF.
struct Lead {
  uint8_t length = 0;  // of the character; 0: no character begins with this byte
  uint8_t low = 0x80, high = 0xBF;
};

constexpr Lead LeadOf(uint8_t byte) {
  if (byte < 0x80) return {1};
  if (byte < 0xC2) return {0};
  if (byte < 0xE0) return {2};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte < 0xF0) return {3};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte < 0xF4) return {4};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0};
}

}  // namespace

Utf8Step ReadUtf8(std::string_view bytes) {
  using Kind = Utf8Step::Kind;
  const uint8_t first = static_cast<uint8_t>(bytes[0]);
  const Lead lead = LeadOf(first);
  if (lead.length == 0) return {Kind::kInvalid, 1, 0};
  if (lead.length == 1) return {Kind::kValid, 1, first};
  char32_t code_point = first & (0x7Fu >> lead.length);
  uint8_t low = lead.low, high = lead.high;
  for (uint8_t i = 1; i < lead.length; ++i) {
    if (i >= bytes.size()) return {Kind::kIncomplete, i, 0};
    const uint8_t byte = static_cast<uint8_t>(bytes[i]);
    if (byte < low || byte > high) return {Kind::kInvalid, i, 0};
    code_point = code_point << 6 | (byte & 0x3Fu);
    low = 0x80;
    high = 0xBF;
  }
  return {Kind::kValid, lead.length, code_point};
}

std::optional<size_t> FirstInvalidUtf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const Utf8Step step = ReadUtf8(text.substr(at));
    if (step.kind != Utf8Step::Kind::kValid) return at;
    at += step.length;
  }
  return std::nullopt;
}

absl::Status ValidateUtf8(std::string_view text) {
  const std::optional<size_t> at = FirstInvalidUtf8(text);
  if (!at) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("the text is not valid UTF-8: wrong or unfinished character at byte ", *at,
                   " (0x", absl::Hex(static_cast<uint8_t>(text[*at]), absl::kZeroPad2), ")"));
}

void AppendUtf8(char32_t code_point, std::string* out) {
  const auto put = [out](char32_t byte) { out->push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) {
    put(code_point);
    return;
  }
  if (code_point < 0x800) {
    put(0xC0 | code_point >> 6);
  } else {
    if (code_point < 0x10000) {
      put(0xE0 | code_point >> 12);
    } else {
      put(0xF0 | code_point >> 18);
      put(0x80 | (code_point >> 12 & 0x3F));
    }
    put(0x80 | (code_point >> 6 & 0x3F));
  }
  put(0x80 | (code_point & 0x3F));
}

void Utf8Repairer::Push(std::string_view bytes, std::string* out) {
  std::string joined;
  if (!pending_.empty()) {
    joined = pending_;
    joined.append(bytes);
    bytes = joined;
    pending_.clear();
  }
  while (!bytes.empty()) {
    const Utf8Step step = ReadUtf8(bytes);
    if (step.kind == Utf8Step::Kind::kIncomplete) {
      pending_ = bytes;
      return;
    }
    if (step.kind == Utf8Step::Kind::kValid) {
      out->append(bytes.substr(0, step.length));
    } else {
      out->append(kReplacement);
    }
    bytes.remove_prefix(step.length);
  }
}

void Utf8Repairer::Finish(std::string* out) {
  if (!pending_.empty()) out->append(kReplacement);
  pending_.clear();
}

}  // namespace pamir
