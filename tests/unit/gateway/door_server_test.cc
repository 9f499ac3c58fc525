// The door itself: its other calls, health, reflection, ports, draining.
#include <cerrno>
#include <thread>

#include "gateway/listen_address.h"
#include "gmock/gmock.h"
#include "pamir/version.h"
#include "unit/gateway/door_fixture.h"
#include "unit/gateway/raw_call.h"

namespace pamir::gateway {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Asks until it says so: the test's own time limit ends a wait in vain.
void WaitHealth(const std::string& target, const std::string& service, const std::string& wanted) {
  while (Health(target, service) != wanted) std::this_thread::yield();
}

TEST(ListenAddress, OneAddressOfANameIsEnoughButNoneMayBeTaken) {
  EXPECT_EQ(ErrorOfBinds({0}), 0);
  EXPECT_EQ(ErrorOfBinds({EADDRNOTAVAIL, 0}), 0);  // "localhost" where IPv6 is off
  EXPECT_EQ(ErrorOfBinds({0, EAFNOSUPPORT}), 0);
  EXPECT_EQ(ErrorOfBinds({0, EADDRINUSE}), EADDRINUSE);
  EXPECT_EQ(ErrorOfBinds({EACCES, EADDRNOTAVAIL}), EACCES);
  EXPECT_NE(ErrorOfBinds({}), 0);
}

TEST_F(Door, ScoresOverTheWire) {
  Open();
  std::jthread call([&] {
    const auto result = client().Score("ab");
    ASSERT_TRUE(result.ok()) << result.error.message;
    EXPECT_THAT(result.value.token_ids,
                ElementsAre(2, ByteText::TokenOf('a'), ByteText::TokenOf('b')));
    EXPECT_THAT(result.value.logprobs, ElementsAre(-1.5, -0.25));
    EXPECT_EQ(result.value.nll, 1.75);
    EXPECT_EQ(result.value.scored_tokens, 2);
  });
  const flow::TokenRequest request = engine_.WaitSubmitted();
  EXPECT_EQ(request.max_tokens, 0);
  engine_.EmitPromptLogprobs(request.id, {-1.5f, -0.25f});
}

TEST_F(Door, TokenizesAndBack) {
  Open();
  const auto ids = client().Tokenize("h\u00e9", true);
  ASSERT_TRUE(ids.ok()) << ids.error.message;
  EXPECT_EQ(ids.value.size(), 4u);
  EXPECT_EQ(ids.value[0], 2);
  EXPECT_EQ(client().Tokenize("", false).value.size(), 0u);
  EXPECT_EQ(client().Detokenize(ids.value, true).value, "h\u00e9");
  EXPECT_EQ(client().Detokenize(ids.value, false).value, "</s>h\u00e9");
}

TEST_F(Door, StatusMirrorsTheEngine) {
  flow::EngineStats stats{.ready = true,
                          .draining = false,
                          .model = "fake-7b",
                          .max_model_len = 2048,
                          .vocab_size = 260,
                          .epoch = Epoch(3),
                          .steps = 4,
                          .running = 5,
                          .waiting = 6,
                          .max_running = 7,
                          .max_waiting = 8,
                          .blocks_total = 9,
                          .blocks_free = 10,
                          .block_size = 11,
                          .requests_finished = 12,
                          .tokens_generated = 13,
                          .preemptions = 14};
  stats.ranks.push_back({.rank = 1,
                         .state = flow::RankState::kLoading,
                         .host = "h",
                         .device = "cpu",
                         .build = "b",
                         .stage = 2,
                         .tensor_index = 3,
                         .first_layer = 4,
                         .layers = 5,
                         .weight_bytes = 6,
                         .kv_bytes = 7,
                         .load_fraction = 0.5});
  engine_.SetStats(stats);
  Open();
  const auto result = client().Status();
  ASSERT_TRUE(result.ok()) << result.error.message;
  const ServerStatus& got = result.value;
  EXPECT_TRUE(got.ready && !got.draining);
  EXPECT_EQ(got.model, "fake-7b");
  EXPECT_EQ(got.version, kVersion);
  EXPECT_THAT((std::vector<uint64_t>{got.epoch, got.steps, got.requests_finished,
                                     got.tokens_generated, got.preemptions}),
              ElementsAre(3, 4, 12, 13, 14));
  EXPECT_THAT((std::vector<int32_t>{got.max_model_len, got.vocab_size, got.running, got.waiting,
                                    got.max_running, got.max_waiting, got.blocks_total,
                                    got.blocks_free, got.block_size}),
              ElementsAre(2048, 260, 5, 6, 7, 8, 9, 10, 11));
  ASSERT_EQ(got.workers.size(), 1u);
  const WorkerStatus& worker = got.workers[0];
  EXPECT_EQ(worker.state, WorkerState::kLoading);
  EXPECT_EQ(worker.host + worker.device + worker.build, "hcpub");
  EXPECT_THAT(
      (std::vector<int64_t>{worker.rank, worker.stage, worker.tensor_index, worker.first_layer,
                            worker.layers, worker.weight_bytes, worker.kv_bytes}),
      ElementsAre(1, 2, 3, 4, 5, 6, 7));
  EXPECT_EQ(worker.load_fraction, 0.5);
}

TEST_F(Door, HealthFollowsTheEngine) {
  engine_.SetStats({.ready = false});
  Open();
  EXPECT_EQ(Health(target(), ""), "NOT_SERVING");
  engine_.SetStats({.ready = true});
  for (const char* name : {"", "pamir.v1.Generation", "pamir.v1.Cluster"}) {
    WaitHealth(target(), name, "SERVING");
  }
  engine_.SetStats({.ready = true, .draining = true});
  WaitHealth(target(), "pamir.v1.Generation", "NOT_SERVING");
  engine_.SetStats({.ready = true});
  WaitHealth(target(), "", "SERVING");
  EXPECT_NE(Health(target(), "no.such.Service"), "SERVING");
}

TEST_F(Door, ReflectionListsTheServices) {
  Open();
  // ServerReflectionRequest: string list_services = 7.
  const RawReply reply = RawCall(
      target(), "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "\x3a\x01*");
  ASSERT_TRUE(reply.status.ok()) << reply.status.error_message();
  for (const char* name : {"pamir.v1.Generation", "pamir.v1.Cluster", "grpc.health.v1.Health"}) {
    EXPECT_THAT(reply.bytes, HasSubstr(name));
  }
}

TEST_F(Door, SaysThatAPortIsInUse) {
  Open();
  options_.port = server_->port();
  const auto second = GrpcServer::Start(options_, &engine_, &text_);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(second.status().message()),
              HasSubstr(absl::StrCat("port ", options_.port, " on 127.0.0.1 is in use")));
}

TEST_F(Door, SaysWhatIsWrongWithAnAddress) {
  options_.host = "192.0.2.1";  // of nobody (RFC 5737)
  EXPECT_THAT(std::string(GrpcServer::Start(options_, &engine_, &text_).status().message()),
              HasSubstr("cannot listen on 192.0.2.1:0"));
  options_.host = "127.0.0.1";
  options_.port = 70000;
  EXPECT_THAT(std::string(GrpcServer::Start(options_, &engine_, &text_).status().message()),
              HasSubstr("port 70000 does not exist"));
  EXPECT_EQ(HostPort("::1", 5), "[::1]:5");
}

TEST_F(Door, DrainLetsRunningStreamsFinishAndRefusesNewOnes) {
  Open();
  WaitHealth(target(), "", "SERVING");
  std::jthread call([&] {
    const auto result = client().Generate(Prompt("a"));
    EXPECT_TRUE(result.ok()) << result.error.message;
    EXPECT_EQ(result.value.text, "tail");
  });
  const SeqId id = engine_.WaitSubmitted().id;
  const std::string at = target();
  std::jthread drain([&] { server_->Drain(absl::InfiniteFuture()); });
  WaitHealth(at, "", "NOT_SERVING");
  EXPECT_TRUE(client().Status().value.draining);
  const auto refused = client().Generate(Prompt("b"));
  EXPECT_EQ(refused.error.code, "UNAVAILABLE");
  EXPECT_THAT(refused.error.message, HasSubstr("draining"));
  EXPECT_EQ(client().Tokenize("b", false).error.code, "UNAVAILABLE");
  engine_.EmitText(id, "tail");
  engine_.EmitEnd(id, FinishReason::kLength);
  drain.join();
  call.join();
  EXPECT_FALSE(Client::Connect(at, std::chrono::milliseconds(50)).ok()) << "the port is closed";
  server_->Drain(absl::InfiniteFuture());  // a second one does nothing
}

TEST_F(Door, DrainCancelsWhatOutlivesItsDeadline) {
  Open();
  std::jthread call([&] { EXPECT_FALSE(client().Generate(Prompt("a")).ok()); });
  const SeqId id = engine_.WaitSubmitted().id;
  server_->Drain(absl::InfinitePast());
  engine_.WaitCancelled(id);
  EXPECT_EQ(engine_.active(), 0u);
}

TEST(ClientConnect, SaysThatNobodyAnswers) {
  const auto client = Client::Connect("127.0.0.1:1", std::chrono::milliseconds(50));
  EXPECT_EQ(client.error.code, "UNAVAILABLE");
  EXPECT_THAT(client.error.message, HasSubstr("no server answers at 127.0.0.1:1"));
}

}  // namespace
}  // namespace pamir::gateway
