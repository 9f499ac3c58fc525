#include "core/text/pretokenizer.h"

#include "base/utf8.h"
#include "core/text/unicode_classes.h"

namespace pamir::text {
namespace {

constexpr std::string_view kContractions[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};

struct Char {
  CharClass kind;
  size_t length;
};

Char CharAt(std::string_view text, size_t at) {
  const Utf8Step step = ReadUtf8(text.substr(at));
  return {ClassOf(step.code_point), step.length};
}

size_t ContractionLength(std::string_view text) {
  if (text[0] != '\'') return 0;
  for (std::string_view contraction : kContractions) {
    if (text.starts_with(contraction)) return contraction.size();
  }
  return 0;
}

// The end of the run of `kind` that begins at `at`.
size_t RunEnd(std::string_view text, size_t at, CharClass kind) {
  while (at < text.size()) {
    const Char c = CharAt(text, at);
    if (c.kind != kind) break;
    at += c.length;
  }
  return at;
}

// \s+(?!\S)|\s+ : in front of a word the run's last character is left, so that a space can go with
// the word; but a run of one is taken whole.
size_t WhiteSpaceLength(std::string_view text) {
  size_t end = 0, last = 0;
  while (end < text.size()) {
    const Char c = CharAt(text, end);
    if (c.kind != CharClass::kWhiteSpace) break;
    last = end;
    end += c.length;
  }
  const bool at_end_of_text = end == text.size();
  return at_end_of_text || last == 0 ? end : last;
}

}  // namespace

size_t FirstWordLength(std::string_view text) {
  if (const size_t length = ContractionLength(text); length > 0) return length;
  const size_t start = text[0] == ' ' ? 1 : 0;
  if (start < text.size()) {
    const Char c = CharAt(text, start);
    if (c.kind != CharClass::kWhiteSpace) return RunEnd(text, start + c.length, c.kind);
  }
  return WhiteSpaceLength(text);
}

}  // namespace pamir::text
