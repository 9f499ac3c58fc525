// --device cuda of whole programs: over a GPU made of host memory, and where there is none.
#include <filesystem>
#include <string>
#include <vector>

#include "e2e/server.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "support/golden.h"

namespace pamir::testing {
namespace {

using ::testing::HasSubstr;

std::string FakeGpu() {
  const std::filesystem::path bin = std::filesystem::path(PamirBinary()).parent_path();
  return "PAMIR_CUDA_MODULE=" + (bin / "pamir_fake_cuda.so").string();
}

class FakeGpuTest : public ::testing::TestWithParam<int> {};

// The engine of GPUs in float32 answers as the reference does, ranks that share a GPU included.
TEST_P(FakeGpuTest, GoldenTokens) {
  const GoldenModel golden = LoadGolden("fable-2m");
  Server server({"--model", golden.directory, "-tp", std::to_string(GetParam()), "--device", "cuda",
                 "--dtype", "float32", "--transport", "staged", "--num-kv-blocks", "256"},
                {FakeGpu(), "FAKE_CUDA_MEMORY=4294967296"});
  const size_t cases = 3;
  for (size_t i = 0; i < cases; ++i) {
    const GoldenCase& c = golden.cases[i];
    GenerateParams params;
    params.prompt = c.prompt;
    params.temperature = 0;
    params.logprobs = true;
    params.stop.max_tokens = static_cast<int32_t>(c.greedy_ids.size());
    const Result<GenerateResult> result = server.client().Generate(params);
    ASSERT_TRUE(result.ok()) << result.error.message;
    ASSERT_EQ(result.value.token_ids, c.greedy_ids) << c.prompt;
    ASSERT_EQ(result.value.logprobs.size(), c.greedy_logprobs.size());
    for (size_t t = 0; t < c.greedy_logprobs.size(); ++t) {
      EXPECT_NEAR(result.value.logprobs[t], c.greedy_logprobs[t], 1e-3) << c.prompt << " " << t;
    }
  }
  EXPECT_TRUE(BecomesIdle(server.client(), std::chrono::seconds(10)));
  EXPECT_EQ(server.Stop(), 0) << server.process().errors();
}

INSTANTIATE_TEST_SUITE_P(Ranks, FakeGpuTest, ::testing::Values(1, 2),
                         [](const auto& info) { return "tp" + std::to_string(info.param); });

// What `pamir worker --device cuda` says with `environment`; it must end by itself with status 1,
// without having asked the coordinator.
std::string ErrorOfWorker(const std::vector<std::string>& environment) {
  Process worker({PamirBinary(), "worker", "--device", "cuda", "--coordinator", "127.0.0.1:9"},
                 environment);
  EXPECT_EQ(worker.WaitForExit(std::chrono::seconds(60)), 1);
  return worker.errors();
}

TEST(NoGpu, TheWorkerSaysWhatIsMissing) {
  // Where there is a GPU nobody sees it; where there is no module, no driver, that is said.
  const std::string error = ErrorOfWorker({"CUDA_VISIBLE_DEVICES=-1"});
  EXPECT_THAT(error, HasSubstr("--device cuda: "));
  EXPECT_THAT(error, ::testing::AnyOf(HasSubstr("no GPU back end"), HasSubstr("driver"),
                                      HasSubstr("no GPU is visible")));
  EXPECT_THAT(error, HasSubstr("--device cpu"));
}

TEST(NoGpu, AModuleThatIsNotThereIsNamed) {
  const std::string error = ErrorOfWorker({"PAMIR_CUDA_MODULE=/nonexistent/pamir_cuda.so"});
  EXPECT_THAT(error, HasSubstr("the GPU back end cannot be opened"));
  EXPECT_THAT(error, HasSubstr("/nonexistent/pamir_cuda.so"));
}

}  // namespace
}  // namespace pamir::testing
