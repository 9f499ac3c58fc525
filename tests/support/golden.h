// The reference answers of tests/golden/golden.json.
#ifndef PAMIR_TESTS_SUPPORT_GOLDEN_H_
#define PAMIR_TESTS_SUPPORT_GOLDEN_H_

#include <cstdint>
#include <string>
#include <vector>

namespace pamir::testing {

struct GoldenCase {
  std::string prompt;
  std::vector<int32_t> prompt_ids;
  std::vector<int32_t> greedy_ids;
  std::vector<float> greedy_logprobs;
  std::string greedy_text;
  std::vector<float> prompt_logprobs;  // of prompt_ids[1..]
};

struct GoldenModel {
  std::string directory;
  double perplexity = 0;  // 0: not given
  std::vector<GoldenCase> cases;
};

// "fable-14m", "fable-2m", "tiny-350m-like", "tiny-galactica-like".
GoldenModel LoadGolden(const std::string& model);

}  // namespace pamir::testing

#endif  // PAMIR_TESTS_SUPPORT_GOLDEN_H_
