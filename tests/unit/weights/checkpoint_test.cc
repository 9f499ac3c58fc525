#include <sys/stat.h>
#include <unistd.h>

#include "engine/weights/checkpoint_index.h"
#include "engine/weights/tensor_source.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "unit/weights/test_files.h"

namespace pamir::weights {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Entry(const std::string& name, const std::string& shape, int begin, int end) {
  return "\"" + name + R"(": {"dtype": "F16", "shape": [)" + shape + R"(], "data_offsets": [)" +
         std::to_string(begin) + ", " + std::to_string(end) + "]}";
}

std::unique_ptr<TensorSource> Open(const TempDirectory& directory) {
  auto opened = OpenCheckpoint(directory.path());
  EXPECT_TRUE(opened.ok()) << opened.status();
  return opened.ok() ? std::move(*opened) : nullptr;
}

absl::Status ErrorOf(const TempDirectory& directory) {
  const absl::Status status = OpenCheckpoint(directory.path()).status();
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()), HasSubstr(directory.path()));
  return status;
}

std::vector<uint16_t> ReadOf(const TensorSource& source, const std::string& name, Range rows,
                             Range columns) {
  std::vector<uint16_t> values(static_cast<size_t>(rows.size() * columns.size()));
  const absl::Status status = source.Read(name, rows, columns, values.data());
  EXPECT_TRUE(status.ok()) << status;
  return values;
}

TEST(Checkpoint, ReadsRowsAndColumns) {
  TempDirectory directory;
  directory.Write("model.safetensors", FileOf("{" + Entry("w", "3, 4", 4, 28) + "}", 32));
  const auto source = Open(directory);
  // Data bytes count up: the element at byte b is b + 256 * (b + 1).
  const auto at = [](int row, int column) {
    const int byte = 4 + 2 * (4 * row + column);
    return static_cast<uint16_t>(byte + 256 * (byte + 1));
  };
  EXPECT_THAT(ReadOf(*source, "w", {1, 2}, {0, 4}),
              ElementsAre(at(1, 0), at(1, 1), at(1, 2), at(1, 3)));
  EXPECT_THAT(ReadOf(*source, "w", {0, 3}, {2, 3}), ElementsAre(at(0, 2), at(1, 2), at(2, 2)));
  EXPECT_THAT(ReadOf(*source, "w", {1, 3}, {1, 3}),
              ElementsAre(at(1, 1), at(1, 2), at(2, 1), at(2, 2)));
  EXPECT_THAT(ReadOf(*source, "w", {1, 1}, {0, 4}), ElementsAre());
  EXPECT_EQ(source->Find("w").value().shape, (std::vector<int64_t>{3, 4}));
}

TEST(Checkpoint, ColumnsThatLieFarApart) {
  // Rows of 40 kB: segments of the first kind are read one by one, of the second through the gaps.
  constexpr int kRows = 5, kColumns = 20000;
  TempDirectory directory;
  directory.Write(
      "model.safetensors",
      FileOf("{" + Entry("w", "5, 20000", 0, 2 * kRows * kColumns) + "}", 2 * kRows * kColumns));
  const auto source = Open(directory);
  const std::vector<uint16_t> whole = ReadOf(*source, "w", {0, kRows}, {0, kColumns});
  for (const Range columns : {Range{100, 107}, Range{19990, 20000}, Range{10, 19995}}) {
    const std::vector<uint16_t> part = ReadOf(*source, "w", {1, 5}, columns);
    for (int64_t r = 0; r < 4; ++r) {
      for (int64_t c = 0; c < columns.size(); ++c) {
        ASSERT_EQ(part[r * columns.size() + c], whole[(r + 1) * kColumns + columns.begin + c]);
      }
    }
  }
}

TEST(Checkpoint, RangesOutsideTheTensorAreErrors) {
  TempDirectory directory;
  directory.Write(
      "model.safetensors",
      FileOf("{" + Entry("w", "2, 2", 0, 8) + ", " + Entry("cube", "1, 2, 2", 8, 16) + "}", 16));
  const auto source = Open(directory);
  uint16_t out[8];
  EXPECT_THAT(std::string(source->Read("w", {0, 3}, {0, 2}, out).message()),
              AllOf(HasSubstr("tensor \"w\""), HasSubstr("model.safetensors"),
                    HasSubstr("rows 0..3"), HasSubstr("[2, 2]")));
  EXPECT_FALSE(source->Read("w", {-1, 1}, {0, 2}, out).ok());
  EXPECT_FALSE(source->Read("w", {1, 0}, {0, 2}, out).ok());
  EXPECT_FALSE(source->Read("w", {0, 2}, {1, 3}, out).ok());
  EXPECT_THAT(std::string(source->Read("cube", {0, 1}, {0, 2}, out).message()),
              HasSubstr("3 dimensions"));
}

TEST(Checkpoint, NamesTheMissingTensor) {
  TempDirectory directory;
  directory.Write("model.safetensors", FileOf("{" + Entry("w", "2", 0, 4) + "}", 4));
  const auto source = Open(directory);
  const absl::Status status = source->Find("model.decoder.embed_tokens.weight").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(
      std::string(status.message()),
      AllOf(HasSubstr("\"model.decoder.embed_tokens.weight\""), HasSubstr(directory.path())));
  uint16_t out;
  EXPECT_EQ(source->Read("x", {0, 1}, {0, 1}, &out).code(), absl::StatusCode::kNotFound);
}

TEST(Checkpoint, UnderstandsNamesWithoutTheModelPrefix) {
  TempDirectory directory;
  directory.Write("model.safetensors",
                  FileOf("{" + Entry("decoder.embed_tokens.weight", "2", 0, 4) + ", " +
                             Entry("lm_head.weight", "2", 4, 8) + "}",
                         8));
  const auto source = Open(directory);
  EXPECT_TRUE(source->Find("model.decoder.embed_tokens.weight").ok());
  EXPECT_TRUE(source->Find("lm_head.weight").ok());

  TempDirectory twice;
  twice.Write("model.safetensors", FileOf("{" + Entry("decoder.w", "2", 0, 4) + ", " +
                                              Entry("model.decoder.w", "2", 4, 8) + "}",
                                          8));
  EXPECT_THAT(std::string(ErrorOf(twice).message()),
              AllOf(HasSubstr("\"decoder.w\""), HasSubstr("\"model.decoder.w\"")));
}

TEST(Checkpoint, AFileThatShrinksGivesAnError) {
  TempDirectory directory;
  directory.Write("model.safetensors", FileOf("{" + Entry("w", "8", 0, 16) + "}", 16));
  const auto source = Open(directory);
  ASSERT_EQ(truncate((directory / "model.safetensors").c_str(), 80), 0);
  uint16_t out[8];
  const absl::Status status = source->Read("w", {0, 8}, {0, 1}, out);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("tensor \"w\""), HasSubstr("model.safetensors"),
                    HasSubstr("ends at byte 80")));
}

TEST(Checkpoint, RefusesDamagedFiles) {
  TempDirectory directory;
  directory.Write("model.safetensors", "tiny");
  EXPECT_THAT(std::string(ErrorOf(directory).message()), HasSubstr("the file has 4 bytes"));
  directory.Write("model.safetensors", LittleEndian64(1000) + "{}");
  EXPECT_THAT(std::string(ErrorOf(directory).message()), HasSubstr("cut off"));
  directory.Write("model.safetensors", LittleEndian64(uint64_t{1} << 60) + "{}");
  EXPECT_THAT(std::string(ErrorOf(directory).message()), HasSubstr("at most 100000000"));
  directory.Write("model.safetensors", FileOf("{\"w\": ", 0));
  EXPECT_THAT(std::string(ErrorOf(directory).message()), HasSubstr("not valid JSON"));
  directory.Write("model.safetensors", FileOf("{" + Entry("w", "8", 0, 16) + "}", 15));
  EXPECT_THAT(std::string(ErrorOf(directory).message()),
              AllOf(HasSubstr("tensor \"w\""), HasSubstr("cut off")));
}

TEST(Checkpoint, SaysWhatTheDirectoryHoldsInstead) {
  TempDirectory directory;
  EXPECT_EQ(OpenCheckpoint(directory / "missing").status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(ErrorOf(directory).message()), HasSubstr("neither model.safetensors"));
  directory.Write("pytorch_model-00001-of-00002.bin", "x");
  EXPECT_THAT(std::string(ErrorOf(directory).message()),
              AllOf(HasSubstr("pytorch_model-00001-of-00002.bin"),
                    HasSubstr("scripts/convert-bin " + directory.path())));
  directory.Write("weights.safetensors", "x");
  EXPECT_THAT(std::string(ErrorOf(directory).message()), HasSubstr("weights.safetensors"));
  EXPECT_FALSE(OpenCheckpoint(directory / "weights.safetensors").ok()) << "no directory";
}

TEST(Checkpoint, ANamedPipeIsNoCheckpoint) {
  TempDirectory directory;
  ASSERT_EQ(mkfifo((directory / "model.safetensors").c_str(), 0600), 0);
  EXPECT_THAT(std::string(ErrorOf(directory).message()), HasSubstr("not a regular file"));
}

// A link to itself cannot be read by anybody, root included.
TEST(Checkpoint, ADirectoryThatCannotBeReadIsNamed) {
  TempDirectory directory;
  const std::string loop = directory / "loop";
  ASSERT_EQ(symlink("loop", loop.c_str()), 0);
  EXPECT_THAT(std::string(OpenCheckpoint(loop).status().message()),
              HasSubstr("cannot read the directory " + loop));
}

class IndexedCheckpoint : public testing::Test {
 protected:
  void SetUp() override {
    directory_.Write(
        "one.safetensors",
        FileOf("{" + Entry("a", "2", 0, 4) + ", " + Entry("stray", "1", 4, 6) + "}", 8));
    directory_.Write("two.safetensors", FileOf("{" + Entry("b", "2", 0, 4) + "}", 4));
  }
  void Index(const std::string& map) {
    directory_.Write("model.safetensors.index.json",
                     R"({"metadata": {"x": [1, {"weight_map": 2}]}, "weight_map": )" + map + "}");
  }
  TempDirectory directory_;
};

TEST_F(IndexedCheckpoint, TakesWhatTheIndexNames) {
  Index(R"({"a": "one.safetensors", "b": "two.safetensors"})");
  const auto source = Open(directory_);
  EXPECT_TRUE(source->Find("a").ok());
  EXPECT_TRUE(source->Find("b").ok());
  EXPECT_FALSE(source->Find("stray").ok());
}

TEST_F(IndexedCheckpoint, RefusesAMissingShard) {
  Index(R"({"a": "one.safetensors", "b": "three.safetensors"})");
  EXPECT_THAT(std::string(ErrorOf(directory_).message()),
              AllOf(HasSubstr("names three.safetensors"), HasSubstr("download")));
}

TEST_F(IndexedCheckpoint, RefusesATensorThatItsShardLacks) {
  Index(R"({"a": "two.safetensors", "b": "two.safetensors"})");
  EXPECT_THAT(std::string(ErrorOf(directory_).message()),
              AllOf(HasSubstr("\"a\" is in two.safetensors"), HasSubstr("does not hold it")));
}

TEST_F(IndexedCheckpoint, ShardErrorsNameTheShard) {
  directory_.Write("two.safetensors", "broken");
  Index(R"({"a": "one.safetensors", "b": "two.safetensors"})");
  EXPECT_THAT(std::string(ErrorOf(directory_).message()), HasSubstr("two.safetensors: "));
}

TEST(CheckpointIndex, RefusesBrokenIndexes) {
  const auto error = [](const std::string& json) {
    const auto parsed = ParseCheckpointIndex(json);
    EXPECT_FALSE(parsed.ok()) << json;
    return std::string(parsed.status().message());
  };
  EXPECT_THAT(error("{"), HasSubstr("not valid JSON"));
  EXPECT_THAT(error("{}"), HasSubstr("no weight_map"));
  EXPECT_THAT(error("[]"), HasSubstr("no weight_map"));
  EXPECT_THAT(error(R"({"weight_map": 5})"), HasSubstr("no weight_map"));
  EXPECT_THAT(error(R"({"x": {"weight_map": {}}})"), HasSubstr("no weight_map"));
  EXPECT_THAT(error(R"({"weight_map": {"a": 5}})"), HasSubstr("a number for tensor \"a\""));
  EXPECT_THAT(error(R"({"weight_map": {"a": {}}})"), HasSubstr("an object"));
  EXPECT_THAT(error(R"({"weight_map": {"a": "f", "a": "g"}})"), HasSubstr("\"a\" twice"));
  for (const char* name : {"../../etc/passwd", "/etc/passwd", "..", "", "sub/f"}) {
    EXPECT_THAT(error(std::string(R"({"weight_map": {"a": ")") + name + "\"}}"),
                HasSubstr("plain name"));
  }
}

TEST(Checkpoint, OpensTheModelsThatShip) {
  const auto sharded = OpenCheckpoint(PAMIR_SOURCE_DIR "/configs/models/fable-14m");
  ASSERT_TRUE(sharded.ok()) << sharded.status();
  EXPECT_EQ((*sharded)->Find("model.decoder.layers.5.fc2.weight").value().shape,
            (std::vector<int64_t>{384, 1536}));
  EXPECT_TRUE(OpenCheckpoint(PAMIR_SOURCE_DIR "/configs/models/fable-2m").ok());
}

}  // namespace
}  // namespace pamir::weights
