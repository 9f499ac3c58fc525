#include "engine/weights/inspect.h"

#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "unit/weights/test_files.h"
#include "unit/weights/test_sources.h"

namespace pamir::weights {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string TextOf(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in.good()) << path;
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(DescribeModel, TellsShapeAndShares) {
  const spec::ModelSpec model = spec::NamedModel("350m").value();
  const std::string text = DescribeModel(model, spec::EvenShardPlan(model, 2, 2).value());
  EXPECT_THAT(text, AllOf(HasSubstr("opt-350m"), HasSubstr("331,196,416 (662.4 MB in float16)"),
                          HasSubstr("norm after each block"), HasSubstr("embedding of 512"),
                          HasSubstr("4 ranks in 2 stages"), HasSubstr("12-23")));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 9 + 2 + 4);
}

TEST(VerifyCheckpoint, PassesWhatIsRight) {
  const spec::ModelSpec model = OddModel();
  LoadProgress last;
  EXPECT_TRUE(VerifyCheckpoint(model, SpoiltSource(model, DType::kBFloat16), [&](LoadProgress p) {
                last = p;
              }).ok());
  EXPECT_EQ(last.bytes_total, 2 * spec::ParameterCount(model));
  EXPECT_EQ(last.bytes_done, last.bytes_total);

  const std::string fable = PAMIR_SOURCE_DIR "/configs/models/fable-2m";
  const auto source = OpenCheckpoint(fable);
  ASSERT_TRUE(source.ok()) << source.status();
  const auto config = spec::ParseModelConfig(TextOf(fable + "/config.json"), "fable-2m");
  EXPECT_TRUE(VerifyCheckpoint(config.value(), **source, nullptr).ok());
}

TEST(VerifyCheckpoint, ListsAllProblems) {
  const spec::ModelSpec model = OddModel();
  SpoiltSource source(model, DType::kFloat32);
  source.missing = "model.decoder.layers.0.fc1.bias";
  source.reshaped = "model.decoder.layers.1.fc1.weight";
  source.unreadable = "model.decoder.layers.1.fc2.weight";
  source.valued = "model.decoder.embed_tokens.weight";
  source.row = 300;
  source.value = std::numeric_limits<float>::infinity();
  const absl::Status status = VerifyCheckpoint(model, source, nullptr);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("odd-plain has 4 problems"), HasSubstr(source.missing),
                    HasSubstr(source.reshaped), HasSubstr("disk of " + source.unreadable),
                    HasSubstr("[300, 0]: an infinity")));
}

TEST(VerifyCheckpoint, ShowsOnlyTheFirstProblems) {
  spec::ModelSpec other = OddModel();
  const auto source = MakeDummySource(other, {});
  other.hidden = other.embed = 66;
  const absl::Status status = VerifyCheckpoint(other, *source, nullptr);
  const std::string text(status.message());
  EXPECT_THAT(text, HasSubstr("\n... and "));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), kMaxProblems + 1);
}

TEST(WriteSynthetic, MakesADirectoryThatVerifies) {
  for (const char* variant : kOddVariants) {
    const spec::ModelSpec model = OddModel(variant);
    TempDirectory directory;
    const std::string path = directory / "deep/model";
    LoadProgress last;
    const absl::Status status = WriteSynthetic(model, {}, path, [&](LoadProgress p) { last = p; });
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(last.bytes_done, 2 * spec::ParameterCount(model));
    const auto again = spec::ParseModelConfig(TextOf(path + "/config.json"), model.name);
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(*again, model);
    const auto source = OpenCheckpoint(path);
    ASSERT_TRUE(source.ok()) << source.status();
    EXPECT_TRUE(VerifyCheckpoint(model, **source, nullptr).ok());
    EXPECT_FALSE(std::filesystem::exists(path + "/model.safetensors.index.json"));
    EXPECT_THAT(TextOf(path + "/generation_config.json"), HasSubstr("\"eos_token_id\": 2"));
  }
}

TEST(WriteSynthetic, CutsIntoShardsWithAnIndex) {
  const spec::ModelSpec model = OddModel();
  TempDirectory directory;
  const std::string path = directory / "model";
  constexpr int64_t kShard = 70'000;
  ASSERT_TRUE(WriteSynthetic(model, {}, path, nullptr, kShard).ok());
  int shards = 0;
  for (const auto& entry : std::filesystem::directory_iterator(path)) {
    if (entry.path().extension() != ".safetensors") continue;
    ++shards;
    EXPECT_LE(entry.file_size(), kShard + 10'000u);
    EXPECT_THAT(entry.path().filename().string(), HasSubstr("-of-0000"));
  }
  EXPECT_GT(shards, 3);
  const auto index = nlohmann::json::parse(TextOf(path + "/model.safetensors.index.json"));
  EXPECT_EQ(index["metadata"]["total_size"], 2 * spec::ParameterCount(model));
  EXPECT_EQ(index["weight_map"].size(), spec::CheckpointTensors(model).size());
  EXPECT_TRUE(VerifyCheckpoint(model, **OpenCheckpoint(path), nullptr).ok());
}

TEST(WriteSynthetic, TheVocabularyHasEveryByteOnce) {
  TempDirectory directory;
  const std::string path = directory / "model";
  ASSERT_TRUE(WriteSynthetic(OddModel(), {}, path, nullptr).ok());
  const auto vocabulary = nlohmann::json::parse(TextOf(path + "/vocab.json"));
  EXPECT_EQ(static_cast<int64_t>(vocabulary.size()), kByteVocabulary);
  EXPECT_EQ(vocabulary["<s>"], 0);
  EXPECT_EQ(vocabulary["</s>"], 2);
  EXPECT_EQ(vocabulary["!"], 4);
  EXPECT_EQ(vocabulary["~"], 97);
  EXPECT_EQ(vocabulary["\u00ff"], 191);  // byte 0xFF, the last that stands for itself
  EXPECT_EQ(vocabulary["\u0100"], 192);  // byte 0
  EXPECT_EQ(vocabulary["\u0120"], 224);  // the space
  EXPECT_EQ(vocabulary["\u0143"], 259);  // byte 0xAD
  std::vector<bool> seen(static_cast<size_t>(kByteVocabulary));
  for (const auto& [token, id] : vocabulary.items()) seen[id.get<size_t>()] = true;
  EXPECT_EQ(std::count(seen.begin(), seen.end(), true), kByteVocabulary);
  EXPECT_EQ(TextOf(path + "/merges.txt"), "#version: 0.2\n");
  // The same ids as those of a vocabulary that a trainer made.
  const auto trained =
      nlohmann::json::parse(TextOf(PAMIR_SOURCE_DIR "/configs/models/fable-2m/vocab.json"));
  for (const auto& [token, id] : vocabulary.items()) EXPECT_EQ(trained[token], id) << token;
}

TEST(WriteSynthetic, RefusesWhatWouldOverwrite) {
  TempDirectory directory;
  directory.Write("mine.txt", "x");
  const absl::Status status = WriteSynthetic(OddModel(), {}, directory.path(), nullptr);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr(directory.path() + " is not empty"));
  EXPECT_FALSE(WriteSynthetic(OddModel(), {}, directory / "mine.txt", nullptr).ok());
  EXPECT_FALSE(WriteSynthetic(OddModel(), {}, "/proc/nowhere", nullptr).ok());
}

TEST(WriteSynthetic, RefusesAVocabularyWithoutRoomForBytes) {
  spec::ModelSpec model = OddModel();
  model.vocab = 259;
  TempDirectory directory;
  EXPECT_THAT(std::string(WriteSynthetic(model, {}, directory.path(), nullptr).message()),
              HasSubstr("259 rows is too small"));
}

}  // namespace
}  // namespace pamir::weights
