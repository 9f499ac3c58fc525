#include "core/text/merges.h"

#include <string_view>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "core/text/quote.h"

namespace pamir::text {
namespace {

absl::Status BadLine(size_t line_number, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat("merges.txt, line ", line_number, ": ", what));
}

// Takes the first line off `rest`, without its line feed and a carriage return before it.
std::string TakeLine(std::string_view* rest) {
  const size_t end = rest->find('\n');
  std::string line(rest->substr(0, end));
  rest->remove_prefix(end == std::string_view::npos ? rest->size() : end + 1);
  if (line.ends_with('\r')) line.pop_back();
  return line;
}

absl::StatusOr<TokenId> FindToken(const Vocab& vocab, const std::string& token, size_t line) {
  const TokenId id = vocab.Find(token);
  if (id < 0) return BadLine(line, absl::StrCat("vocab.json has no token ", Quote(token)));
  return id;
}

absl::StatusOr<Merge> ParseLine(const std::string& line, size_t number, const Vocab& vocab) {
  const size_t space = line.find(' ');
  if (space == std::string::npos || space == 0 || space + 1 == line.size() ||
      line.find(' ', space + 1) != std::string::npos) {
    return BadLine(number, absl::StrCat(Quote(line), " is not two tokens with one space between"));
  }
  const std::string left = line.substr(0, space), right = line.substr(space + 1);
  Merge merge;
  PAMIR_ASSIGN_OR_RETURN(merge.left, FindToken(vocab, left, number));
  PAMIR_ASSIGN_OR_RETURN(merge.right, FindToken(vocab, right, number));
  PAMIR_ASSIGN_OR_RETURN(merge.result, FindToken(vocab, left + right, number));
  return merge;
}

}  // namespace

absl::StatusOr<std::vector<Merge>> ParseMerges(const std::string& merges_txt, const Vocab& vocab) {
  if (merges_txt.size() > kMaxMergesBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "merges.txt: ", merges_txt.size(), " bytes; at most ", kMaxMergesBytes, " are read"));
  }
  std::vector<Merge> merges;
  absl::flat_hash_set<std::pair<TokenId, TokenId>> seen;
  std::string_view rest = merges_txt;
  for (size_t number = 1; !rest.empty(); ++number) {
    const std::string line = TakeLine(&rest);
    if (number == 1 && line.starts_with("#version")) continue;
    if (line.empty() && rest.empty()) break;  // a blank line at the end does no harm
    if (merges.size() == kMaxMerges) {
      return BadLine(number, absl::StrCat("more than ", kMaxMerges, " merges"));
    }
    PAMIR_ASSIGN_OR_RETURN(const Merge merge, ParseLine(line, number, vocab));
    if (!seen.emplace(merge.left, merge.right).second) {
      return BadLine(number, absl::StrCat("the merge ", Quote(line), " is there twice"));
    }
    merges.push_back(merge);
  }
  return merges;
}

}  // namespace pamir::text
