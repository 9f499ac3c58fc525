#include "core/text/stop_matcher.h"

#include <algorithm>

#include "base/utf8.h"

namespace pamir::text {
namespace {

std::vector<uint32_t> Borders(const std::string& bytes) {
  std::vector<uint32_t> border(bytes.size(), 0);
  for (size_t i = 1; i < bytes.size(); ++i) {
    uint32_t length = border[i - 1];
    while (length > 0 && bytes[length] != bytes[i]) length = border[length - 1];
    border[i] = bytes[length] == bytes[i] ? length + 1 : 0;
  }
  return border;
}

}  // namespace

StopMatcher::StopMatcher(const std::vector<std::string>& stops) {
  for (const std::string& stop : stops) {
    if (stop.empty() || !ValidateUtf8(stop).ok()) continue;
    patterns_.push_back({stop, Borders(stop), 0});
  }
}

void StopMatcher::Advance(char byte, Pattern* pattern) {
  size_t matched = pattern->matched;
  while (matched > 0 && pattern->bytes[matched] != byte) matched = pattern->border[matched - 1];
  if (pattern->bytes[matched] == byte) ++matched;
  pattern->matched = matched;
}

size_t StopMatcher::AdvanceAll(char byte) {
  size_t found = 0;
  for (Pattern& pattern : patterns_) {
    Advance(byte, &pattern);
    if (pattern.matched == pattern.bytes.size()) found = std::max(found, pattern.matched);
  }
  return found;
}

bool StopMatcher::Push(std::string_view text, std::string* out) {
  if (stopped_) return true;
  for (char byte : text) {
    held_.push_back(byte);
    const size_t found = AdvanceAll(byte);
    if (found == 0) continue;
    out->append(held_, 0, held_.size() - found);
    held_.clear();
    stopped_ = true;
    return true;
  }
  size_t keep = 0;
  for (const Pattern& pattern : patterns_) keep = std::max(keep, pattern.matched);
  out->append(held_, 0, held_.size() - keep);
  held_.erase(0, held_.size() - keep);
  return false;
}

void StopMatcher::Finish(std::string* out) {
  out->append(held_);
  held_.clear();
}

}  // namespace pamir::text
