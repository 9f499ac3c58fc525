// Many users at once: 64 streams of mixed lengths, greedy and seeded, some cancelled at random.
// Every stream that finishes equals what it gives alone, bit for bit; afterwards all blocks are
// free.
#include <atomic>
#include <random>
#include <thread>
#include <tuple>

#include "e2e/server.h"
#include "gtest/gtest.h"
#include "support/golden.h"

namespace pamir::testing {
namespace {

constexpr int kClients = 64;

struct Request {
  GenerateParams params;
  int cancel_after = -1;  // tokens; -1: never
};

std::vector<Request> MakeRequests(const GoldenModel& golden, std::mt19937* random) {
  std::vector<Request> requests(kClients);
  for (int i = 0; i < kClients; ++i) {
    GenerateParams& p = requests[i].params;
    const GoldenCase& c = golden.cases[(*random)() % golden.cases.size()];
    // Prompts of 1 to about 150 tokens: a reference prompt and some of its continuation, repeated.
    p.prompt = c.prompt;
    for (unsigned repeat = (*random)() % 3; repeat > 0; --repeat) p.prompt += c.greedy_text;
    p.stop.max_tokens = 1 + static_cast<int32_t>((*random)() % 96);
    p.temperature = i % 2 == 0 ? 0.0f : 0.9f;
    p.top_k = i % 4 == 1 ? 50 : 0;
    p.top_p = i % 4 == 3 ? 0.9f : 1.0f;
    p.seed = (*random)();
    p.logprobs = true;
    if ((*random)() % 4 == 0) requests[i].cancel_after = static_cast<int>((*random)() % 20);
  }
  return requests;
}

using Layout = std::tuple<int, int>;
class ManyClientsTest : public ::testing::TestWithParam<Layout> {};

TEST_P(ManyClientsTest, EveryStreamIsWhatItIsAlone) {
  const auto [tp, pp] = GetParam();
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const GoldenModel golden = LoadGolden("fable-14m");
  // Fewer blocks than all need at once, so that some are preempted and wait.
  Server server({"--model", golden.directory, "-tp", std::to_string(tp), "-pp", std::to_string(pp),
                 "--max-num-seqs", "24", "--num-kv-blocks", "160"});
  const std::vector<Request> requests = MakeRequests(golden, &random);

  std::vector<Result<GenerateResult>> together(kClients);
  std::vector<std::thread> threads;
  for (int i = 0; i < kClients; ++i) {
    threads.emplace_back([&, i] {
      std::stop_source cancel;
      int tokens = 0;
      const auto on_chunk = [&](const GenerateChunk& chunk) {
        tokens += static_cast<int>(chunk.token_ids.size());
        if (requests[i].cancel_after >= 0 && tokens >= requests[i].cancel_after) {
          cancel.request_stop();
        }
      };
      CallOptions options;
      options.stop = cancel.get_token();
      together[i] = server.client().Generate(requests[i].params, on_chunk, options);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(BecomesIdle(server.client(), std::chrono::seconds(10))) << "blocks were not freed";

  int finished = 0;
  for (int i = 0; i < kClients; ++i) {
    if (requests[i].cancel_after < 0) {
      ASSERT_TRUE(together[i].ok()) << together[i].error.message;
    }
    if (!together[i].ok()) {
      EXPECT_EQ(together[i].error.code, "CANCELLED") << together[i].error.message;
      continue;
    }
    ++finished;
    const Result<GenerateResult> alone = server.client().Generate(requests[i].params);
    ASSERT_TRUE(alone.ok()) << alone.error.message;
    EXPECT_EQ(together[i].value.token_ids, alone.value.token_ids) << "request " << i;
    EXPECT_EQ(together[i].value.logprobs, alone.value.logprobs) << "request " << i;
    EXPECT_EQ(together[i].value.text, alone.value.text) << "request " << i;
    EXPECT_EQ(together[i].value.finish_reason, alone.value.finish_reason) << "request " << i;
  }
  EXPECT_GE(finished, kClients / 2);
  EXPECT_TRUE(BecomesIdle(server.client(), std::chrono::seconds(10)));
  EXPECT_EQ(server.Stop(), 0) << server.process().errors();
}

INSTANTIATE_TEST_SUITE_P(Layouts, ManyClientsTest,
                         ::testing::Values(Layout{1, 1}, Layout{2, 1}, Layout{3, 1}, Layout{2, 2}),
                         [](const auto& info) {
                           return "tp" + std::to_string(std::get<0>(info.param)) + "_pp" +
                                  std::to_string(std::get<1>(info.param));
                         });

}  // namespace
}  // namespace pamir::testing
