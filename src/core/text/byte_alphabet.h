// GPT-2's byte alphabet: vocab.json and merges.txt write each byte of a token as one printable
// character. Bytes that are printable in Latin-1 stand for themselves; the 68 others, in ascending
// order, are U+0100, U+0101, ... (Radford et al. 2019, encoder.py, bytes_to_unicode).
#ifndef PAMIR_CORE_TEXT_BYTE_ALPHABET_H_
#define PAMIR_CORE_TEXT_BYTE_ALPHABET_H_

#include <array>
#include <cstdint>
#include <string>

namespace pamir::text {

// [byte]: the character, in UTF-8.
std::array<std::string, 256> ByteAlphabet();

// The bytes that a token of the vocabulary stands for. A token with a character outside the
// alphabet stands for its own UTF-8, as in Hugging Face's decoder. `token` is valid UTF-8.
std::string BytesOfToken(const std::string& token);

}  // namespace pamir::text

#endif  // PAMIR_CORE_TEXT_BYTE_ALPHABET_H_
