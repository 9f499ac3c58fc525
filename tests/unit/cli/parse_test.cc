#include <string>
#include <vector>

#include "cli/options.h"
#include "gtest/gtest.h"

namespace pamir::cli {
namespace {

std::variant<Command, int> Parse(std::vector<std::string> args) {
  args.insert(args.begin(), "pamir");
  std::vector<char*> argv;
  for (std::string& arg : args) argv.push_back(arg.data());
  return ParseCommandLine(static_cast<int>(argv.size()), argv.data());
}

template <typename Flags>
Flags Parsed(const std::vector<std::string>& args) {
  const std::variant<Command, int> parsed = Parse(args);
  const Command* command = std::get_if<Command>(&parsed);
  EXPECT_NE(command, nullptr);
  return command == nullptr ? Flags() : std::get<Flags>(*command);
}

bool IsUsageError(const std::vector<std::string>& args) {
  const std::variant<Command, int> parsed = Parse(args);
  const int* status = std::get_if<int>(&parsed);
  return status != nullptr && *status == kExitUsage;
}

TEST(ParseCommandLine, GpuFlagsOfServe) {
  const EngineFlags plain = Parsed<ServeFlags>({"serve", "--model", "m"}).engine;
  EXPECT_EQ(plain.device, "auto");
  EXPECT_EQ(plain.relu_skip, "off");
  EXPECT_EQ(plain.kv_cache_dtype, "auto");
  EXPECT_EQ(plain.gpu_memory_utilization, 0.9);
  const EngineFlags set =
      Parsed<ServeFlags>({"serve", "--model", "m", "--device", "cuda", "--relu-skip", "full",
                          "--gpu-memory-utilization", "0.5", "--kv-cache-dtype", "fp8"})
          .engine;
  EXPECT_EQ(set.device, "cuda");
  EXPECT_EQ(set.relu_skip, "full");
  EXPECT_EQ(set.kv_cache_dtype, "fp8");
  EXPECT_EQ(set.gpu_memory_utilization, 0.5);
}

TEST(ParseCommandLine, BenchEngine) {
  const auto plain = Parsed<BenchEngineFlags>({"bench", "engine"});
  EXPECT_EQ(plain.model, "opt-13b");
  EXPECT_EQ(plain.batch, (std::vector<int32_t>{1, 8, 32, 64}));
  const auto set = Parsed<BenchEngineFlags>({"bench", "engine", "--model", "opt-125m", "--batch",
                                             "1,4", "--prefill", "0", "--device", "cuda:1",
                                             "--dummy-relu-density", "0.05", "--json"});
  EXPECT_EQ(set.model, "opt-125m");
  EXPECT_EQ(set.batch, (std::vector<int32_t>{1, 4}));
  EXPECT_EQ(set.prefill, 0);
  EXPECT_EQ(set.device, "cuda:1");
  EXPECT_EQ(set.dummy_relu_density, 0.05);
  EXPECT_TRUE(set.json);
  EXPECT_TRUE(IsUsageError({"bench"}));
  EXPECT_TRUE(IsUsageError({"bench", "engine", "--batch", "0"}));
  EXPECT_TRUE(IsUsageError({"bench", "engine", "--batch", "1,x"}));
  EXPECT_TRUE(IsUsageError({"bench", "engine", "--steps", "0"}));
  EXPECT_TRUE(IsUsageError({"bench", "engine", "--context", "0"}));
  EXPECT_TRUE(IsUsageError({"bench", "engine", "--relu-skip", "some"}));
}

TEST(ParseCommandLine, GpuMemoryIsTheCoordinatorsToSay) {
  EXPECT_EQ(Parsed<CoordinatorFlags>({"coordinator", "--model", "m", "--gpu-memory", "24"})
                .engine.gpu_memory_gib,
            24);
  EXPECT_TRUE(IsUsageError({"serve", "--model", "m", "--gpu-memory", "24"}));
}

TEST(ParseCommandLine, AWorkersDevice) {
  const auto device = [](const std::string& text) {
    return Parsed<WorkerFlags>({"worker", "--coordinator", "c:1", "--device", text}).device;
  };
  for (const char* text : {"auto", "cpu", "cuda", "cuda:3"}) EXPECT_EQ(device(text), text);
  EXPECT_EQ(Parsed<WorkerFlags>({"worker", "--coordinator", "c:1"}).device, "auto");
}

TEST(ParseCommandLine, WrongValuesAreUsageErrors) {
  EXPECT_TRUE(IsUsageError({"serve", "--model", "m", "--device", "cuda:0"}));
  EXPECT_TRUE(IsUsageError({"serve", "--model", "m", "--device", "gpu"}));
  EXPECT_TRUE(IsUsageError({"serve", "--model", "m", "--relu-skip", "on"}));
  for (const char* share : {"0", "1.01", "nan", "-0.5", "x"}) {
    EXPECT_TRUE(IsUsageError({"serve", "--model", "m", "--gpu-memory-utilization", share}));
  }
  EXPECT_TRUE(IsUsageError({"coordinator", "--model", "m", "--gpu-memory", "-1"}));
  EXPECT_TRUE(IsUsageError({"worker", "--coordinator", "c:1", "--device", "cuda:x"}));
}

}  // namespace
}  // namespace pamir::cli
