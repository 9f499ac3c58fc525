// Finds stop strings in a text that comes in pieces.
#ifndef PAMIR_CORE_TEXT_STOP_MATCHER_H_
#define PAMIR_CORE_TEXT_STOP_MATCHER_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pamir::text {

// The text ends before the stop string whose last byte comes first; of several that end with the
// same byte, before the longest. So the result is a function of the text, not of how it is cut into
// pieces. Each byte costs one step of Knuth, Morris and Pratt's automaton per stop string; what is
// held back is shorter than the longest stop string. Not thread-safe.
class StopMatcher {
 public:
  // Doors bound number and length (kMaxStopStrings, kMaxStopStringBytes). Stop strings that are
  // empty or not valid UTF-8 are left out: they cannot be seen in text that is valid UTF-8.
  explicit StopMatcher(const std::vector<std::string>& stops);

  // Takes whole UTF-8 characters. Appends to `out` the text that can no longer belong to a stop
  // string. True: a stop string was found, now or before, and the text is complete.
  bool Push(std::string_view text, std::string* out);

  // No more text: appends what was held back.
  void Finish(std::string* out);

  bool stopped() const { return stopped_; }

 private:
  struct Pattern {
    std::string bytes;
    std::vector<uint32_t> border;  // [i]: longest proper prefix of bytes[0..i] that also ends it
    size_t matched = 0;            // longest prefix that the text so far ends with
  };
  static void Advance(char byte, Pattern* pattern);
  // Feeds one byte to all patterns. The length of the longest that is now complete, or 0.
  size_t AdvanceAll(char byte);

  std::vector<Pattern> patterns_;
  std::string held_;  // not given out yet
  bool stopped_ = false;
};

}  // namespace pamir::text

#endif  // PAMIR_CORE_TEXT_STOP_MATCHER_H_
