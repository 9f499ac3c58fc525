// Cuts text into the words within which byte-pair merging works, by GPT-2's pattern:
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
// (Radford et al. 2019, encoder.py). Written by hand: no regular expression engine is needed, and
// the time is linear in the text whatever the text is.
#ifndef PAMIR_CORE_TEXT_PRETOKENIZER_H_
#define PAMIR_CORE_TEXT_PRETOKENIZER_H_

#include <cstddef>
#include <string_view>

namespace pamir::text {

// Bytes of the word that begins at text[0]; `text` is valid UTF-8 and not empty. Every text is
// covered: calling this again and again for the rest takes all of it.
size_t FirstWordLength(std::string_view text);

}  // namespace pamir::text

#endif  // PAMIR_CORE_TEXT_PRETOKENIZER_H_
