// A model's text made small: byte b is token b + 4, tokens 0 .. 3 are special, 2 leads. Its decoder
// holds back half a character and the possible beginning of a stop string, as the real one does.
#ifndef PAMIR_TESTS_UNIT_GATEWAY_BYTE_TEXT_H_
#define PAMIR_TESTS_UNIT_GATEWAY_BYTE_TEXT_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "core/flow/ports.h"

namespace pamir::gateway {

class ByteText final : public flow::Text {
 public:
  static constexpr TokenId kFirstByte = 4;
  static TokenId TokenOf(char byte) { return kFirstByte + static_cast<unsigned char>(byte); }

  absl::StatusOr<std::vector<TokenId>> Encode(const std::string& text) const override;
  absl::StatusOr<std::string> Decode(const std::vector<TokenId>& ids,
                                     bool skip_special) const override;
  std::unique_ptr<flow::TextDecoder> NewDecoder(std::vector<std::string> stop) const override;
  int32_t vocab_size() const override { return kFirstByte + 256; }
  TokenId bos() const override { return 2; }

  // Encode of a text that begins with '#' waits until Release.
  void Release();
  // Waits until so many of them are inside Encode.
  void WaitHeld(int count) const;

 private:
  bool Released() const { return released_; }

  mutable absl::Mutex mutex_;
  mutable int held_ = 0;
  bool released_ = false;
};

}  // namespace pamir::gateway

#endif  // PAMIR_TESTS_UNIT_GATEWAY_BYTE_TEXT_H_
