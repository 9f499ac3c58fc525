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
  std::vector<float> greedy_margins;  // to the second best logit
  std::string greedy_text;
  std::vector<float> prompt_logprobs;  // of prompt_ids[1..]
};

struct GoldenModel {
  std::string directory;
  double perplexity = 0;  // 0: not given
  std::vector<GoldenCase> cases;
};

// Where the repository lies: PAMIR_TEST_SOURCE_DIR of the environment, for programs that run
// elsewhere (scripts/gpu-test), else where this was built.
std::string SourceDirectory();

// "fable-14m", "fable-2m", "tiny-350m-like", "tiny-galactica-like".
GoldenModel LoadGolden(const std::string& model);

}  // namespace pamir::testing

#endif  // PAMIR_TESTS_SUPPORT_GOLDEN_H_
