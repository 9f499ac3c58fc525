// Starting, stopping and dying.
#include <signal.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "e2e/server.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace pamir::testing {
namespace {

using ::testing::HasSubstr;

std::string Fable() { return SourcePath("configs/models/fable-14m"); }

// The direct children of a process.
std::vector<pid_t> ChildrenOf(pid_t parent) {
  std::ifstream file("/proc/" + std::to_string(parent) + "/task/" + std::to_string(parent) +
                     "/children");
  std::vector<pid_t> children;
  for (pid_t pid; file >> pid;) children.push_back(pid);
  return children;
}

bool Ends(pid_t pid, std::chrono::seconds within) {
  const auto until = std::chrono::steady_clock::now() + within;
  while (std::chrono::steady_clock::now() < until) {
    if (kill(pid, 0) != 0) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return false;
}

GenerateParams LongRequest() {
  GenerateParams params;
  params.prompt = "Once upon a time";
  params.temperature = 0;
  params.stop.max_tokens = 1500;
  params.stop.ignore_eos = true;
  return params;
}

TEST(Life, TermDrainsWhatRuns) {
  Server server({"--model", Fable(), "-tp", "2"});
  GenerateParams params = LongRequest();
  params.stop.max_tokens = 200;
  Result<GenerateResult> result;
  std::atomic<int> chunks = 0;
  std::thread request(
      [&] { result = server.client().Generate(params, [&](const GenerateChunk&) { ++chunks; }); });
  while (chunks < 3) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(server.Stop(), 0) << server.process().errors();
  request.join();
  ASSERT_TRUE(result.ok()) << result.error.message;
  EXPECT_EQ(result.value.completion_tokens, 200);
}

TEST(Life, AWorkerThatDiesEndsTheServerWithTheReason) {
  Server server({"--model", Fable(), "-tp", "3"});
  const std::vector<pid_t> workers = ChildrenOf(server.process().pid());
  ASSERT_EQ(workers.size(), 3u);
  Result<GenerateResult> result;
  std::atomic<int> chunks = 0;
  std::thread request([&] {
    result = server.client().Generate(LongRequest(), [&](const GenerateChunk&) { ++chunks; });
  });
  while (chunks < 3) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  kill(workers[1], SIGKILL);
  EXPECT_EQ(server.process().WaitForExit(std::chrono::seconds(15)), 1);
  request.join();
  EXPECT_FALSE(result.ok());
  EXPECT_EQ(result.error.code, "UNAVAILABLE") << result.error.message;
  EXPECT_THAT(server.process().errors(), HasSubstr(std::to_string(workers[1])));
  for (const pid_t worker : workers) EXPECT_TRUE(Ends(worker, std::chrono::seconds(10)));
}

TEST(Life, WorkersEndWithAKilledServer) {
  Server server({"--model", Fable(), "-tp", "2"});
  const std::vector<pid_t> workers = ChildrenOf(server.process().pid());
  ASSERT_EQ(workers.size(), 2u);
  server.process().Signal(SIGKILL);
  EXPECT_EQ(server.process().WaitForExit(std::chrono::seconds(5)), 128 + SIGKILL);
  for (const pid_t worker : workers) EXPECT_TRUE(Ends(worker, std::chrono::seconds(15)));
}

// Those of a child process once they are there.
std::vector<pid_t> WaitForChildren(pid_t parent, size_t count) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  std::vector<pid_t> children;
  while (children.size() < count && std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    children = ChildrenOf(parent);
  }
  return children;
}

TEST(Life, TermWhileLoadingEndsAllSoon) {
  Process server({PamirBinary(), "serve", "--model", "opt-350m", "--load-format", "dummy", "-tp",
                  "2", "--num-kv-blocks", "128", "--grpc-port", "0"});
  const std::vector<pid_t> workers = WaitForChildren(server.pid(), 2);
  ASSERT_EQ(workers.size(), 2u) << server.errors();
  server.Signal(SIGTERM);
  EXPECT_EQ(server.WaitForExit(std::chrono::seconds(30)), 0) << server.errors();
  for (const pid_t worker : workers) EXPECT_TRUE(Ends(worker, std::chrono::seconds(1)));
}

// Whether it has joined by then or not, and although it ends with status 0.
TEST(Life, AWorkerThatIsStoppedDuringTheStartEndsTheServer) {
  Process server({PamirBinary(), "serve", "--model", Fable(), "-tp", "2", "--grpc-port", "0"});
  const std::vector<pid_t> workers = WaitForChildren(server.pid(), 1);
  ASSERT_FALSE(workers.empty()) << server.errors();
  kill(workers[0], SIGTERM);
  EXPECT_EQ(server.WaitForExit(std::chrono::seconds(30)), 1) << server.errors();
  EXPECT_THAT(server.errors(), HasSubstr(std::to_string(workers[0])));
}

TEST(Life, TermEndsTheSample) {
  Process server({PamirBinary(), "serve", "--model", "opt-125m", "--load-format", "dummy",
                  "--num-kv-blocks", "128", "--threads", "1", "--sample", "abc", "--grpc-port",
                  "0"});
  ASSERT_TRUE(server.WaitForLine("gRPC  ", std::chrono::seconds(60))) << server.errors();
  server.Signal(SIGTERM);
  EXPECT_EQ(server.WaitForExit(std::chrono::seconds(30)), 0) << server.errors();
  EXPECT_FALSE(server.output().ends_with(" ...\n\n")) << "it generated the sample to its end";
}

// What is meant for `pamir coordinator` and `pamir worker` in the same shell.
TEST(Life, TheEnvironmentOfOtherCommandsDoesNotReachTheWorkers) {
  Server server({"--model", Fable(), "-tp", "2"},
                {"PAMIR_JOIN_TOKEN=another", "PAMIR_TLS_CERT=/no/such/file", "PAMIR_MODEL=/nowhere",
                 "PAMIR_WORKERS=nonsense"});
  EXPECT_TRUE(server.client().Status().ok());
  EXPECT_EQ(server.Stop(), 0) << server.process().errors();
}

TEST(Life, CancellationAndDeadlineFreeTheBlocks) {
  Server server({"--model", Fable(), "-tp", "2"});
  CallOptions late;
  late.timeout = std::chrono::milliseconds(200);
  const Result<GenerateResult> timed_out = server.client().Generate(LongRequest(), {}, late);
  EXPECT_EQ(timed_out.error.code, "DEADLINE_EXCEEDED") << timed_out.error.message;
  EXPECT_TRUE(BecomesIdle(server.client(), std::chrono::seconds(5)));

  std::stop_source stop;
  CallOptions cancelled;
  cancelled.stop = stop.get_token();
  const Result<GenerateResult> result = server.client().Generate(
      LongRequest(), [&](const GenerateChunk&) { stop.request_stop(); }, cancelled);
  EXPECT_EQ(result.error.code, "CANCELLED") << result.error.message;
  EXPECT_TRUE(BecomesIdle(server.client(), std::chrono::seconds(5)));
  EXPECT_EQ(server.Stop(), 0);
}

TEST(Life, DummyModelNeedsNoDirectory) {
  Server server({"--model", "opt-125m", "--load-format", "dummy", "-tp", "2", "-pp", "2",
                 "--max-num-batched-tokens", "128"});
  GenerateParams params;
  params.prompt = "abc";
  params.temperature = 0;
  params.stop.max_tokens = 4;
  params.logprobs = true;
  const Result<GenerateResult> result = server.client().Generate(params);
  ASSERT_TRUE(result.ok()) << result.error.message;
  EXPECT_EQ(result.value.prompt_tokens, 4);
  EXPECT_EQ(server.Stop(), 0) << server.process().errors();
}

TEST(CommandLine, HelpFitsAScreenAndShowsAnExample) {
  for (const std::vector<std::string>& command :
       std::vector<std::vector<std::string>>{{},
                                             {"serve"},
                                             {"coordinator"},
                                             {"worker"},
                                             {"generate"},
                                             {"score"},
                                             {"status"},
                                             {"model"},
                                             {"model", "inspect"},
                                             {"model", "synth"},
                                             {"model", "verify"}}) {
    std::vector<std::string> args = command;
    args.push_back("--help");
    const Finished help = RunPamir(args);
    EXPECT_EQ(help.status, 0);
    EXPECT_LE(std::count(help.output.begin(), help.output.end(), '\n'), 45) << help.output;
    EXPECT_THAT(help.output, HasSubstr("Example: pamir"));
  }
}

}  // namespace
}  // namespace pamir::testing
