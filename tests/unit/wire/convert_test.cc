// Messages to bytes and back; what is malformed is refused with the field's name.
#include "cluster/wire/convert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <random>

#include "pamir/internal/v1/control.pb.h"

namespace pamir::wire {
namespace {

namespace pb = ::pamir::internal::v1;
using ::testing::HasSubstr;

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  int32_t Below(int64_t limit) { return static_cast<int32_t>(engine_() % limit); }
  int32_t AnyInt32() { return Below(int64_t{1} << 31); }
  uint64_t Any64() { return engine_(); }
  float Unit() { return static_cast<float>(Below(1 << 20) + 1) / (1 << 20); }

 private:
  std::mt19937_64 engine_;
};

flow::StepPlan RandomPlan(Random& random) {
  flow::StepPlan plan;
  plan.epoch = Epoch(random.Any64());
  plan.step = StepId(random.Any64());
  plan.micro_batch = random.Below(4);
  const auto some = [&] { return random.Below(6); };
  const auto slot = [&] { return SlotId(random.AnyInt32()); };
  const auto block = [&] { return BlockId(random.AnyInt32()); };
  for (int n = some(); n > 0; --n) plan.releases.push_back(slot());
  for (int n = some(); n > 0; --n) {
    flow::Admission one{.slot = slot(), .choice = random.Below(16)};
    for (int ids = 1 + random.Below(200); ids > 0; --ids) one.ids.push_back(random.AnyInt32());
    one.prompt_length = 1 + random.Below(static_cast<int64_t>(one.ids.size()));
    one.sampling = {.temperature = random.Unit() * 100,
                    .top_k = random.AnyInt32(),
                    .top_p = random.Unit(),
                    .seed = random.Any64()};
    for (int blocks = some(); blocks > 0; --blocks) one.blocks.push_back(block());
    plan.admissions.push_back(one);
  }
  for (int n = some(); n > 0; --n) plan.forced_tokens.push_back({slot(), random.AnyInt32()});
  for (int n = some(); n > 0; --n) plan.appended_blocks.push_back({slot(), block()});
  for (int n = some(); n > 0; --n) plan.forks.push_back({slot(), slot(), random.Below(16)});
  for (int n = some(); n > 0; --n) plan.block_copies.push_back({block(), block()});
  for (int n = random.Below(70); n > 0; --n) {
    plan.rows.push_back({.slot = slot(),
                         .from = random.Below(1 << 30),
                         .count = 1 + random.Below(1 << 29),
                         .kind = static_cast<flow::RowKind>(random.Below(2)),
                         .wants = static_cast<flow::RowWants>(random.Below(3))});
  }
  return plan;
}

TEST(ConvertTest, RandomPlansComeBack) {
  for (uint64_t seed = 0; seed < 500; ++seed) {
    Random random(seed);
    const flow::StepPlan plan = RandomPlan(random);
    const auto back = DecodeToWorker(*Encode(ToWorker(plan)));
    ASSERT_TRUE(back.ok()) << "seed " << seed << ": " << back.status();
    ASSERT_TRUE(std::get<flow::StepPlan>(*back) == plan) << "seed " << seed;
  }
}

TEST(ConvertTest, RandomResultsComeBack) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    Random random(seed);
    flow::StepResult result;
    result.epoch = Epoch(random.Any64());
    result.step = StepId(random.Any64());
    result.engine_us = random.AnyInt32();
    for (int n = random.Below(70); n > 0; --n) {
      result.sampled.push_back({SlotId(random.AnyInt32()), random.AnyInt32(),
                                static_cast<uint32_t>(random.Any64()), -random.Unit()});
    }
    for (int n = random.Below(4); n > 0; --n) {
      flow::PromptLogprobs one{SlotId(random.AnyInt32()), random.Below(1 << 20), {}};
      for (int i = random.Below(100); i > 0; --i) one.logprobs.push_back(-random.Unit());
      result.prompt_logprobs.push_back(one);
    }
    const auto back = DecodeFromWorker(*Encode(FromWorker(result)));
    ASSERT_TRUE(back.ok()) << back.status();
    const auto& got = std::get<flow::StepResult>(*back);
    EXPECT_EQ(got.epoch, result.epoch);
    EXPECT_EQ(got.step, result.step);
    EXPECT_EQ(got.engine_us, result.engine_us);
    EXPECT_TRUE(got.sampled == result.sampled);
    EXPECT_TRUE(got.prompt_logprobs == result.prompt_logprobs);
  }
}

flow::LoadRequest SomeLoad() {
  flow::LoadRequest load;
  load.model = {.name = "opt-x",
                .layers = 6,
                .hidden = 96,
                .heads = 12,
                .ffn = 384,
                .vocab = 1024,
                .positions = 256,
                .embed = 48,
                .pre_norm = false,
                .final_norm = false,
                .tied = true,
                .activation = spec::Activation::kGelu,
                .dtype = DType::kBFloat16,
                .bos = 5,
                .eos = 6,
                .pad = 7};
  auto plan = spec::EvenShardPlan(load.model, 3, 2);
  EXPECT_TRUE(plan.ok()) << plan.status();
  load.plan = *plan;
  load.plan.limits = {.block_size = 16,
                      .num_blocks = 9,
                      .max_num_seqs = 4,
                      .max_num_batched_tokens = 64,
                      .max_model_len = 128,
                      .text_vocab = 1000};
  load.plan.kv_dtype = DType::kFloat16;
  load.plan.kv_fp8 = true;
  load.plan.weight_dtype = DType::kBFloat16;
  load.plan.device = spec::DeviceKind::kCuda;
  load.plan.relu_skip = spec::ReluSkip::kFull;
  load.epoch = Epoch(7);
  load.rank = 5;
  load.ranks_on_host = 2;
  load.threads = 3;
  load.model_directory = "/models/opt x";
  load.format = flow::LoadFormat::kDummy;
  load.dummy_seed = uint64_t{1} << 63;
  load.dummy_relu_density = 0.125;
  load.transport = flow::RankTransport::kGloo;
  load.comm_timeout = absl::Milliseconds(1500);
  return load;
}

TEST(ConvertTest, EveryOtherMessageComesBack) {
  const FromWorker from[] = {Join{.build_id = "b",
                                  .host_name = "h",
                                  .device = "cuda:0",
                                  .pid = 1 << 20,
                                  .cores = 64,
                                  .token = "secret",
                                  .memory_bytes = int64_t{1} << 40},
                             ExchangeBlob{Epoch(3), 2, std::string("\0\xff\x80", 3)},
                             LoadProgress{Epoch(3), 5, 10},
                             Ready{Epoch(3), 1, 2, "shm"},
                             Heartbeat{9, 8},
                             Failed{Epoch(3), absl::NotFoundError("no such file")},
                             Drained{}};
  for (const FromWorker& message : from) {
    const auto back = DecodeFromWorker(*Encode(message));
    ASSERT_TRUE(back.ok()) << NameOf(message) << back.status();
    ASSERT_EQ(back->index(), message.index());
    std::visit(
        [&](const auto& body) {
          using Body = std::decay_t<decltype(body)>;
          if constexpr (!std::is_same_v<Body, flow::StepResult>) {
            EXPECT_TRUE(std::get<Body>(*back) == body) << NameOf(message);
          }
        },
        message);
  }
  const ToWorker to[] = {Welcome{Epoch(1), 2, 4},
                         Load{SomeLoad()},
                         Exchanged{Epoch(3), 1, {"a", std::string("\0b", 2), ""}},
                         Abort{Epoch(4), "why"},
                         Drain{},
                         Shutdown{false, "reason"}};
  for (const ToWorker& message : to) {
    const auto back = DecodeToWorker(*Encode(message));
    ASSERT_TRUE(back.ok()) << NameOf(message) << back.status();
    EXPECT_TRUE(*back == message) << NameOf(message);
  }
}

TEST(ConvertTest, ADecodeRowIsSmall) {
  flow::StepPlan plan{.epoch = Epoch(1), .step = StepId(100000)};
  for (int i = 0; i < 64; ++i) plan.rows.push_back({.slot = SlotId(i), .from = 2000});
  EXPECT_LE(Encode(ToWorker(plan))->size(), 64u * 16);
  flow::StepResult result{.epoch = Epoch(1), .step = StepId(100000)};
  for (int i = 0; i < 64; ++i) result.sampled.push_back({SlotId(i), 50000, 0, -1.5f});
  EXPECT_LE(Encode(FromWorker(result))->size(), 64u * 12);
}

// Encodes without a check and wants the refusal.
std::string Refusal(const ToWorker& message) {
  const auto back = DecodeToWorker(*Encode(message));
  EXPECT_FALSE(back.ok());
  return back.status().ToString();
}

TEST(ConvertTest, NegativeNumbersAreRefused) {
  flow::StepPlan plan;
  plan.rows = {{.slot = SlotId(-1)}};
  EXPECT_THAT(Refusal(plan), HasSubstr("rows"));
  plan.rows = {{.slot = SlotId(0), .from = -5, .count = 6}};
  EXPECT_THAT(Refusal(plan), HasSubstr("rows"));
  plan.rows = {{.slot = SlotId(0), .from = 0, .count = 0}};
  EXPECT_THAT(Refusal(plan), HasSubstr("count"));
  plan.rows = {{.from = std::numeric_limits<int32_t>::max(), .count = 2}};
  EXPECT_THAT(Refusal(plan), HasSubstr("from"));
  plan.rows.clear();
  plan.admissions = {{.slot = SlotId(0), .ids = {1, -2}, .prompt_length = 1}};
  EXPECT_THAT(Refusal(plan), HasSubstr("admission.ids"));
  plan.admissions = {{.slot = SlotId(0), .ids = {1, 2}, .prompt_length = 3}};
  EXPECT_THAT(Refusal(plan), HasSubstr("prompt_length"));
  plan.admissions = {{.slot = SlotId(0), .ids = {1}, .prompt_length = 1}};
  plan.admissions[0].sampling.temperature = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(Refusal(plan), HasSubstr("temperature"));
  plan.admissions[0].sampling = {.top_p = 0};
  EXPECT_THAT(Refusal(plan), HasSubstr("top_p"));
}

TEST(ConvertTest, OversizeListsAreRefused) {
  flow::StepPlan plan;
  plan.releases.assign(kMaxRows + 1, SlotId(0));
  EXPECT_THAT(Refusal(plan), HasSubstr("releases"));
  Exchanged exchanged{.blobs = std::vector<std::string>(kMaxRanks + 1)};
  EXPECT_THAT(Refusal(exchanged), HasSubstr("blobs"));
  EXPECT_FALSE(
      DecodeFromWorker(*Encode(ExchangeBlob{Epoch(1), 0, std::string(kMaxExchangeBytes + 1, 'x')}))
          .ok());
  EXPECT_FALSE(DecodeFromWorker(*Encode(ExchangeBlob{Epoch(1), kMaxExchangeRounds, ""})).ok());
}

TEST(ConvertTest, ColumnsOfDifferentLengthsAreRefused) {
  pb::ToWorker plan;
  plan.mutable_step()->add_row_slot(1);
  plan.mutable_step()->add_row_from(1);
  plan.mutable_step()->add_row_count(1);
  EXPECT_FALSE(DecodeToWorker(plan.SerializeAsString()).ok());
  plan.mutable_step()->add_row_mode(0);
  EXPECT_TRUE(DecodeToWorker(plan.SerializeAsString()).ok());
  plan.mutable_step()->set_row_mode(0, 2);  // no such kind
  EXPECT_FALSE(DecodeToWorker(plan.SerializeAsString()).ok());
  plan.mutable_step()->set_row_mode(0, 12);  // no such want
  EXPECT_FALSE(DecodeToWorker(plan.SerializeAsString()).ok());
  pb::FromWorker result;
  result.mutable_step_result()->add_slot(1);
  result.mutable_step_result()->add_token(1);
  EXPECT_FALSE(DecodeFromWorker(result.SerializeAsString()).ok());
}

TEST(ConvertTest, AbsurdLoadRequestsAreRefused) {
  Load load{SomeLoad()};
  load.request.rank = 6;
  EXPECT_THAT(Refusal(load), HasSubstr("rank"));
  load = Load{SomeLoad()};
  load.request.model.layers = -1;
  EXPECT_THAT(Refusal(load), HasSubstr("model.layers"));
  load = Load{SomeLoad()};
  load.request.plan.stages[0].shards[1].heads = {4, 2};
  EXPECT_THAT(Refusal(load), HasSubstr("shard.heads"));
  load = Load{SomeLoad()};
  load.request.plan.stages.pop_back();  // layers that nobody holds
  load.request.rank = 0;
  Refusal(load);
  load = Load{SomeLoad()};
  load.request.plan.limits.num_blocks = 0;
  EXPECT_THAT(Refusal(load), HasSubstr("num_blocks"));
  load = Load{SomeLoad()};
  load.request.plan.device = static_cast<spec::DeviceKind>(2);
  EXPECT_THAT(Refusal(load), HasSubstr("plan.device"));
  load = Load{SomeLoad()};
  load.request.plan.relu_skip = static_cast<spec::ReluSkip>(3);
  EXPECT_THAT(Refusal(load), HasSubstr("plan.relu_skip"));
  load = Load{SomeLoad()};
  load.request.dummy_relu_density = 2;
  EXPECT_THAT(Refusal(load), HasSubstr("density"));
  load = Load{SomeLoad()};
  load.request.comm_timeout = absl::ZeroDuration();
  EXPECT_THAT(Refusal(load), HasSubstr("comm_timeout"));
}

TEST(ConvertTest, GarbageIsRefused) {
  EXPECT_FALSE(DecodeToWorker("").ok());
  EXPECT_FALSE(DecodeFromWorker("").ok());
  EXPECT_FALSE(DecodeFromWorker("\xff\xff\xff").ok());
  Random random(1);
  for (int i = 0; i < 2000; ++i) {  // must not crash; most are refused
    std::string bytes = *Encode(ToWorker(RandomPlan(random)));
    for (int flips = 1 + random.Below(8); flips > 0; --flips) {
      bytes[random.Below(static_cast<int64_t>(bytes.size()))] ^=
          static_cast<char>(1 + random.Below(255));
    }
    bytes.resize(random.Below(static_cast<int64_t>(bytes.size()) + 1));
    (void)DecodeToWorker(bytes);
    (void)DecodeFromWorker(bytes);
  }
}

TEST(ConvertTest, LongAndOddReasonsAreSentAsFarAsTheyMay) {
  const auto back =
      DecodeFromWorker(*Encode(Failed{Epoch(1), absl::InternalError(std::string(100000, '\xe4'))}));
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(std::get<Failed>(*back).status.message().size(), kMaxReasonBytes);
}

}  // namespace
}  // namespace pamir::wire
