// What goes wrong says what is wrong, and the server goes on.
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>

#include "e2e/server.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "support/golden.h"

namespace pamir::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string Fable() { return SourcePath("configs/models/fable-2m"); }

struct BadStart {
  const char* name;
  std::vector<std::string> args;
  int status;
  std::vector<std::string> says;
};

class BadStartTest : public ::testing::TestWithParam<BadStart> {};

TEST_P(BadStartTest, IsRefusedWithTheReason) {
  const Finished run = RunPamir(GetParam().args);
  EXPECT_EQ(run.status, GetParam().status) << run.errors;
  for (const std::string& words : GetParam().says) {
    EXPECT_THAT(run.errors + run.output, HasSubstr(words));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Flags, BadStartTest,
    ::testing::Values(
        BadStart{
            "unknown_flag", {"serve", "--model", Fable(), "--no-such-flag"}, 2, {"--no-such-flag"}},
        BadStart{"no_command", {}, 2, {"subcommand"}},
        BadStart{"no_model", {"serve"}, 2, {"--model"}},
        BadStart{"missing_directory",
                 {"serve", "--model", "/no/such/place"},
                 1,
                 {"/no/such/place", "opt-125m"}},
        BadStart{
            "name_without_dummy", {"serve", "--model", "opt-125m"}, 1, {"--load-format dummy"}},
        BadStart{
            "tp_does_not_divide", {"serve", "--model", Fable(), "-tp", "3"}, 1, {"heads", "1, 2"}},
        BadStart{"pp_above_layers", {"serve", "--model", Fable(), "-pp", "3"}, 1, {"layers", "2"}},
        BadStart{"context_above_model",
                 {"serve", "--model", Fable(), "--max-model-len", "4096"},
                 1,
                 {"--max-model-len", "2048"}},
        BadStart{"not_a_number",
                 {"serve", "--model", Fable(), "--comm-timeout", "nan"},
                 2,
                 {"--comm-timeout", "0.1 to 3600"}},
        BadStart{"no_gpu",  // where there is one, it is not asked for by this number
                 {"worker", "--coordinator", "127.0.0.1:1", "--device", "cuda:999"},
                 1,
                 {"--device cuda:999"}},
        BadStart{"no_such_device",
                 {"worker", "--coordinator", "127.0.0.1:1", "--device", "gpu"},
                 2,
                 {"--device", "cuda:N"}},
        BadStart{"timeout_beyond_all", {"status", "--timeout", "1e300"}, 2, {"--timeout", "86400"}},
        BadStart{"served_name_not_utf8",
                 {"serve", "--model", Fable(), "--served-model-name", "\xff"},
                 1,
                 {"--served-model-name", "UTF-8"}},
        BadStart{"prompt_file_is_a_directory",
                 {"generate", "--prompt-file", "/"},
                 1,
                 {"/: Is a directory"}},
        BadStart{"prompt_file_without_end",
                 {"score", "--file", "/dev/zero"},
                 1,
                 {"/dev/zero", "67108864 bytes"}},
        BadStart{"nobody_listens",
                 {"generate", "--prompt", "x", "--target", "127.0.0.1:1"},
                 1,
                 {"127.0.0.1:1"}}),
    [](const auto& info) { return std::string(info.param.name); });

TEST(BadStart, NoTemporaryDirectory) {
  Process run({PamirBinary(), "serve", "--model", Fable()}, {"TMPDIR=/no/such/place"});
  EXPECT_EQ(run.WaitForExit(std::chrono::seconds(30)), 1);
  EXPECT_THAT(run.errors(), HasSubstr("TMPDIR"));
}

TEST(BadStart, PortInUse) {
  Server server({"--model", Fable()});
  const std::string port = server.target().substr(server.target().rfind(':') + 1);
  const Finished run = RunPamir({"serve", "--model", Fable(), "--grpc-port", port});
  EXPECT_EQ(run.status, 1);
  EXPECT_THAT(run.errors, AllOf(HasSubstr(port), HasSubstr("in use")));
  EXPECT_EQ(server.Stop(), 0);
}

// A copy of fable-2m that a test may spoil.
std::string CopyOfModel(const TemporaryDirectory& directory) {
  const std::string path = directory.path() + "/model";
  std::filesystem::copy(Fable(), path);
  return path;
}

TEST(BadModel, TruncatedWeightsEndTheStartWithTheFilesName) {
  TemporaryDirectory directory;
  const std::string model = CopyOfModel(directory);
  std::filesystem::resize_file(model + "/model.safetensors", 1'000'000);
  const Finished run = RunPamir({"serve", "--model", model, "--grpc-port", "0"});
  EXPECT_EQ(run.status, 1);
  EXPECT_THAT(run.errors, HasSubstr("model.safetensors"));
}

TEST(BadModel, NanWeightIsNamed) {
  TemporaryDirectory directory;
  const std::string model = CopyOfModel(directory);
  std::fstream file(model + "/model.safetensors", std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(-2, std::ios::end);
  file.write("\x00\x7e", 2);  // a NaN in fp16
  file.close();
  const Finished run = RunPamir({"serve", "--model", model, "-tp", "2", "--grpc-port", "0"});
  EXPECT_EQ(run.status, 1);
  EXPECT_THAT(run.errors, HasSubstr("NaN"));
  const Finished verify = RunPamir({"model", "verify", model});
  EXPECT_EQ(verify.status, 1);
  EXPECT_THAT(verify.errors, HasSubstr("NaN"));
}

TEST(BadModel, VocabAndMergesThatDisagree) {
  TemporaryDirectory directory;
  const std::string model = CopyOfModel(directory);
  std::ofstream(model + "/merges.txt", std::ios::app) << "zzzqqq xxxyyy\n";
  const Finished run = RunPamir({"serve", "--model", model, "--grpc-port", "0"});
  EXPECT_EQ(run.status, 1);
  EXPECT_THAT(run.errors, HasSubstr("zzzqqq"));
}

TEST(BadModel, OnlyPickledWeightsNameTheConverter) {
  TemporaryDirectory directory;
  const std::string model = CopyOfModel(directory);
  std::filesystem::rename(model + "/model.safetensors", model + "/pytorch_model.bin");
  const Finished run = RunPamir({"serve", "--model", model, "--grpc-port", "0"});
  EXPECT_EQ(run.status, 1);
  EXPECT_THAT(run.errors, HasSubstr("scripts/convert-bin"));
}

TEST(BadRequests, AreRefusedAndTheServerGoesOn) {
  Server server({"--model", Fable(), "--max-model-len", "256"});
  const Client& client = server.client();
  const auto refused = [&](auto change, const std::string& words) {
    GenerateParams params;
    params.prompt = "Once";
    change(params);
    const Result<GenerateResult> result = client.Generate(params);
    EXPECT_EQ(result.error.code, "INVALID_ARGUMENT") << words;
    EXPECT_THAT(result.error.message, HasSubstr(words));
  };
  const float nan = std::numeric_limits<float>::quiet_NaN();
  refused([&](auto& p) { p.temperature = nan; }, "temperature");
  refused([](auto& p) { p.temperature = -1; }, "temperature");
  refused([](auto& p) { p.top_p = 0; }, "top_p");
  refused([](auto& p) { p.top_p = 1.5f; }, "top_p");
  refused([](auto& p) { p.top_k = -1; }, "top_k");
  refused([](auto& p) { p.stop.max_tokens = -1; }, "max_tokens");
  refused([](auto& p) { p.stop.stop.assign(17, "x"); }, "stop");
  refused([](auto& p) { p.stop.stop = {""}; }, "stop");
  refused([](auto& p) { p.prompt_ids = {2, 6144}; }, "6143");
  refused([](auto& p) { p.prompt_ids = {-1}; }, "-1");
  refused([](auto& p) { p.prompt = std::string(1 << 20, 'a'); }, "context");
  refused([](auto& p) { p.prompt = std::string((1 << 20) + 1, 'a'); }, "1048576");
  refused([](auto& p) { p.prompt_ids = std::vector<int32_t>(256, 5); }, "256");

  GenerateParams empty;
  empty.temperature = 0;
  const Result<GenerateResult> from_start = client.Generate(empty);
  ASSERT_TRUE(from_start.ok()) << from_start.error.message;
  EXPECT_EQ(from_start.value.prompt_token_ids, std::vector<int32_t>{2});

  GenerateParams nothing;
  nothing.prompt = "Once";
  nothing.stop.max_tokens = 0;
  const Result<GenerateResult> none = client.Generate(nothing);
  ASSERT_TRUE(none.ok()) << none.error.message;
  EXPECT_EQ(none.value.completion_tokens, 0);

  GenerateParams huge;
  huge.prompt = "Once";
  huge.stop.max_tokens = std::numeric_limits<int32_t>::max();
  huge.stop.ignore_eos = true;
  const Result<GenerateResult> full = client.Generate(huge);
  ASSERT_TRUE(full.ok()) << full.error.message;
  EXPECT_EQ(full.value.prompt_tokens + full.value.completion_tokens, 256);
  EXPECT_EQ(full.value.finish_reason, FinishReason::kLength);

  EXPECT_TRUE(BecomesIdle(client, std::chrono::seconds(10)));
  EXPECT_EQ(server.Stop(), 0);
}

TEST(BadRequests, InvalidUtf8OnTheCommandLine) {
  Server server({"--model", Fable()});
  const Finished run = RunPamir({"generate", "--prompt", "abc\xff", "--target", server.target()});
  EXPECT_EQ(run.status, 1);
  EXPECT_THAT(run.errors, AllOf(HasSubstr("UTF-8"), HasSubstr("3")));
  EXPECT_EQ(server.Stop(), 0);
}

}  // namespace
}  // namespace pamir::testing
