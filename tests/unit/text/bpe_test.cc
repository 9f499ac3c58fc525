#include "core/text/bpe.h"

#include <algorithm>
#include <map>
#include <utility>

#include "gmock/gmock.h"
#include "text_testing.h"

namespace pamir::text {
namespace {

using ::testing::ElementsAre;

std::vector<TokenId> MergeAll(const Bpe& bpe, std::vector<TokenId> symbols) {
  Bpe::Workspace workspace;
  bpe.MergeTail(0, &symbols, &workspace);
  return symbols;
}

// The definition, in O(n^2): merge the leftmost pair of the lowest rank, again and again.
std::vector<TokenId> MergeByDefinition(const std::vector<Merge>& merges,
                                       std::vector<TokenId> symbols) {
  while (true) {
    size_t best_rank = merges.size(), best_at = 0;
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto found = std::find_if(merges.begin(), merges.end(), [&](const Merge& m) {
        return m.left == symbols[i] && m.right == symbols[i + 1];
      });
      const size_t rank = static_cast<size_t>(found - merges.begin());
      if (rank < best_rank) best_rank = rank, best_at = i;
    }
    if (best_rank == merges.size()) return symbols;
    symbols[best_at] = merges[best_rank].result;
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best_at) + 1);
  }
}

TEST(Bpe, MergesByRankNotByPlace) {
  // 1 2 3: (2, 3) comes before (1, 2).
  const Bpe bpe({{2, 3, 10}, {1, 2, 11}, {1, 10, 12}});
  EXPECT_THAT(MergeAll(bpe, {1, 2, 3}), ElementsAre(12));
  EXPECT_THAT(MergeAll(bpe, {1, 2, 1, 2, 3}), ElementsAre(11, 12));
  EXPECT_THAT(MergeAll(bpe, {3, 2, 1}), ElementsAre(3, 2, 1));
}

TEST(Bpe, LeftmostOfEqualsComesFirst) {
  const Bpe bpe({{1, 1, 2}});
  EXPECT_THAT(MergeAll(bpe, {1, 1, 1}), ElementsAre(2, 1));
  EXPECT_THAT(MergeAll(bpe, {1, 1, 1, 1, 1}), ElementsAre(2, 2, 1));
}

TEST(Bpe, LeavesWhatComesBeforeTheTail) {
  const Bpe bpe({{1, 1, 2}});
  std::vector<TokenId> symbols = {1, 1, 1, 1};
  Bpe::Workspace workspace;
  bpe.MergeTail(1, &symbols, &workspace);
  EXPECT_THAT(symbols, ElementsAre(1, 2, 1));
  bpe.MergeTail(3, &symbols, &workspace);
  EXPECT_THAT(symbols, ElementsAre(1, 2, 1));
}

TEST(Bpe, RandomMergesEqualTheDefinition) {
  const uint32_t seed = NewSeed();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 rng(seed);
  for (int round = 0; round < 200; ++round) {
    // Any pair of tokens made so far, in any order: ranks that training would not give included.
    std::vector<Merge> merges;
    std::map<std::pair<TokenId, TokenId>, bool> seen;
    TokenId tokens = 3;
    for (int i = 0; i < 12; ++i) {
      const TokenId left = static_cast<TokenId>(rng() % tokens);
      const TokenId right = static_cast<TokenId>(rng() % tokens);
      if (std::exchange(seen[{left, right}], true)) continue;
      merges.push_back({left, right, tokens++});
    }
    std::shuffle(merges.begin(), merges.end(), rng);
    const Bpe bpe(merges);
    std::vector<TokenId> symbols(rng() % 40);
    for (TokenId& symbol : symbols) symbol = static_cast<TokenId>(rng() % 3);
    ASSERT_EQ(MergeAll(bpe, symbols), MergeByDefinition(merges, symbols));
  }
}

// Quadratic merging would take hours here, which the test's time limit turns into a failure.
TEST(Bpe, AMillionEqualLettersMergeIntoALongTree) {
  std::vector<Merge> merges;
  for (TokenId level = 0; level < 20; ++level) merges.push_back({level, level, level + 1});
  const std::vector<TokenId> merged =
      MergeAll(Bpe(merges), std::vector<TokenId>(size_t{1} << 20, 0));
  EXPECT_THAT(merged, ElementsAre(20));
}

}  // namespace
}  // namespace pamir::text
