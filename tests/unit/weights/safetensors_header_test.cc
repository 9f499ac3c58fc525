#include "engine/weights/safetensors_header.h"

#include "base/philox.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "unit/weights/test_files.h"

namespace pamir::weights {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Parses a header whose file has `data_bytes` behind it.
absl::StatusOr<std::vector<StoredTensor>> Parse(const std::string& json, int64_t data_bytes) {
  return ParseSafetensorsHeader(json, 8 + static_cast<int64_t>(json.size()) + data_bytes);
}

std::string ErrorOf(const std::string& json, int64_t data_bytes = 16) {
  const auto parsed = Parse(json, data_bytes);
  EXPECT_FALSE(parsed.ok()) << json;
  EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(parsed.status().message());
}

std::string One(const std::string& fields) { return "{\"w\": {" + fields + "}}"; }

TEST(SafetensorsHeader, GivesPlacesInTheFile) {
  const std::string json = R"({"__metadata__": {"format": "pt"},
      "b": {"dtype": "F32", "shape": [2], "data_offsets": [12, 20]},
      "a": {"data_offsets": [0, 12], "shape": [2, 3], "dtype": "F16"},
      "empty": {"dtype": "BF16", "shape": [0, 7], "data_offsets": [4, 4]}}   )";
  const auto parsed = Parse(json, 20);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  ASSERT_EQ(parsed->size(), 3u);
  const int64_t data = 8 + static_cast<int64_t>(json.size());
  EXPECT_EQ((*parsed)[0].name, "a");
  EXPECT_EQ((*parsed)[0].info.dtype, DType::kFloat16);
  EXPECT_EQ((*parsed)[0].info.shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ((*parsed)[0].begin, data);
  EXPECT_EQ((*parsed)[0].end, data + 12);
  EXPECT_EQ((*parsed)[1].info.dtype, DType::kFloat32);
  EXPECT_EQ((*parsed)[1].begin, data + 12);
  EXPECT_EQ((*parsed)[2].info.dtype, DType::kBFloat16);
}

TEST(SafetensorsHeader, HolesAreFine) {
  EXPECT_TRUE(Parse(One(R"("dtype": "F16", "shape": [2], "data_offsets": [6, 10])"), 16).ok());
  EXPECT_TRUE(Parse("{}", 16).ok());
}

TEST(SafetensorsHeader, RefusesWhatIsNotAHeader) {
  EXPECT_THAT(ErrorOf(""), HasSubstr("not valid JSON"));
  EXPECT_THAT(ErrorOf("{\"w\": "), HasSubstr("not valid JSON"));
  EXPECT_THAT(ErrorOf("{} {}"), HasSubstr("not valid JSON"));
  EXPECT_THAT(ErrorOf("{\"\xFF\": {}}"), HasSubstr("not valid JSON"));
  EXPECT_THAT(ErrorOf("[1]"), HasSubstr("the header is an array; it must be an object"));
  EXPECT_THAT(ErrorOf("7"), HasSubstr("the header is a number"));
  EXPECT_THAT(ErrorOf(R"({"w": 5})"), AllOf(HasSubstr("tensor \"w\""), HasSubstr("a number")));
  EXPECT_THAT(ErrorOf(R"({"w": [5]})"), HasSubstr("an array"));
  EXPECT_THAT(ErrorOf(R"({"__metadata__": {"a": {"b": 1}}})"), HasSubstr("__metadata__"));
}

TEST(SafetensorsHeader, RefusesDuplicates) {
  const std::string w = R"({"dtype": "F16", "shape": [2], "data_offsets": [0, 4]})";
  EXPECT_THAT(ErrorOf("{\"w\": " + w + ", \"w\": " + w + "}"),
              AllOf(HasSubstr("tensor \"w\""), HasSubstr("twice")));
  EXPECT_THAT(ErrorOf(One(R"("dtype": "F16", "dtype": "F32", "shape": [2], )"
                          R"("data_offsets": [0, 4])")),
              AllOf(HasSubstr("tensor \"w\""), HasSubstr("field dtype stands there twice")));
  EXPECT_THAT(ErrorOf(R"({"__metadata__": {}, "__metadata__": {}})"), HasSubstr("twice"));
}

TEST(SafetensorsHeader, RefusesWrongFields) {
  EXPECT_THAT(ErrorOf(One(R"("shape": [2], "data_offsets": [0, 4])")),
              HasSubstr("dtype is missing"));
  EXPECT_THAT(ErrorOf(One(R"("dtype": "F16", "data_offsets": [0, 4])")),
              HasSubstr("shape is missing"));
  EXPECT_THAT(ErrorOf(One(R"("dtype": "F16", "shape": [2])")),
              HasSubstr("data_offsets are missing"));
  EXPECT_THAT(ErrorOf(One(R"("dtype": "F16", "shape": [2], "data_offsets": [0, 4], "x": 1)")),
              HasSubstr("unknown field \"x\""));
  EXPECT_THAT(ErrorOf(One(R"("dtype": "I8", "shape": [2], "data_offsets": [0, 2])")),
              AllOf(HasSubstr("dtype is \"I8\""), HasSubstr("F16, BF16 and F32")));
  EXPECT_THAT(ErrorOf(One(R"("dtype": 5)")),
              HasSubstr("a number stands where it must not (dtype)"));
  EXPECT_THAT(ErrorOf(One(R"("shape": "x")")), HasSubstr("a string"));
  EXPECT_THAT(ErrorOf(One(R"("shape": [-2])")), HasSubstr("a negative number"));
  EXPECT_THAT(ErrorOf(One(R"("shape": [2.5])")), HasSubstr("a fraction"));
  EXPECT_THAT(ErrorOf(One(R"("shape": [[2]])")), HasSubstr("an array"));
  EXPECT_THAT(ErrorOf(One(R"("shape": [1,1,1,1,1,1,1,1,1])")), HasSubstr("more than 8"));
  EXPECT_THAT(ErrorOf(One(R"("dtype": "F16", "shape": [2], "data_offsets": [0, 4, 8])")),
              HasSubstr("there must be 2"));
  EXPECT_THAT(ErrorOf("{\"" + std::string(600, 'n') + "\": {}}"), HasSubstr("600 bytes"));
}

TEST(SafetensorsHeader, RefusesWrongRanges) {
  EXPECT_THAT(ErrorOf(One(R"("dtype": "F16", "shape": [3], "data_offsets": [0, 4])")),
              HasSubstr("shape [3] of F16 does not fill its 4 bytes"));
  EXPECT_THAT(ErrorOf(One(R"("dtype": "F16", "shape": [2], "data_offsets": [4, 0])")),
              HasSubstr("before it begins"));
  EXPECT_THAT(ErrorOf(One(R"("dtype": "F16", "shape": [2], "data_offsets": [14, 18])")),
              AllOf(HasSubstr("ends at byte 18 of 16"), HasSubstr("cut off")));
  EXPECT_THAT(ErrorOf(R"({"a": {"dtype": "F16", "shape": [4], "data_offsets": [0, 8]},
                          "b": {"dtype": "F16", "shape": [4], "data_offsets": [6, 14]}})"),
              AllOf(HasSubstr("tensor \"b\""), HasSubstr("overlaps that of \"a\"")));
}

TEST(SafetensorsHeader, RefusesSizesThatOverflow) {
  // 2^32 x 2^32 x 2 bytes wraps round to 0.
  EXPECT_THAT(ErrorOf(One(R"("dtype": "F16", "shape": [4294967296, 4294967296],
                             "data_offsets": [0, 0])")),
              HasSubstr("does not fill"));
  EXPECT_THAT(ErrorOf(One(R"("dtype": "F16", "shape": [18446744073709551615, 0],
                             "data_offsets": [0, 0])")),
              HasSubstr("absurd shape"));
  EXPECT_THAT(ErrorOf(One(R"("dtype": "F16", "shape": [2],
                             "data_offsets": [18446744073709551612, 18446744073709551615])")),
              HasSubstr("cut off"));
  EXPECT_FALSE(ParseSafetensorsHeader("{}", 9).ok()) << "a file shorter than its header";
}

TEST(SafetensorsHeader, NamesAreEscapedInErrors) {
  EXPECT_THAT(ErrorOf("{\"a\\nb\": 1}"), HasSubstr("a\\nb"));
}

// A short walk of the fuzzer's kind that every run of the tests takes: bytes of a good header are
// changed, doubled or dropped. What is still accepted must lie within the file and not overlap.
TEST(SafetensorsHeader, MutatedHeadersAreRefusedOrSafe) {
  const std::string good = R"({"a":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]},)"
                           R"("b":{"dtype":"F32","shape":[4],"data_offsets":[16,32]}})";
  const std::string alphabet = "0123456789[]{},:\"-abFBs";
  int accepted = 0;
  uint64_t counter = 0;
  const auto below = [&](size_t n) {
    return static_cast<size_t>(PhiloxUniform(7, 0, counter++) * static_cast<float>(n)) % n;
  };
  for (int round = 0; round < 20'000; ++round) {
    std::string json = good;
    for (size_t changes = 1 + below(3); changes > 0; --changes) {
      const size_t at = below(json.size());
      const size_t kind = below(3);
      if (kind == 0) json[at] = alphabet[below(alphabet.size())];
      if (kind == 1) json.insert(at, json, below(json.size()), below(8));
      if (kind == 2) json.erase(at, 1 + below(4));
    }
    const auto parsed = Parse(json, 32);
    if (!parsed.ok()) continue;
    ++accepted;
    const int64_t data = 8 + static_cast<int64_t>(json.size());
    for (const StoredTensor& tensor : *parsed) {
      ASSERT_TRUE(data <= tensor.begin && tensor.begin <= tensor.end && tensor.end <= data + 32)
          << json;
      int64_t bytes = static_cast<int64_t>(SizeOf(tensor.info.dtype));
      for (const int64_t size : tensor.info.shape) bytes *= size;
      ASSERT_EQ(bytes, tensor.end - tensor.begin) << json;
    }
    if (parsed->size() == 2 && (*parsed)[0].end > (*parsed)[1].begin) {
      ASSERT_LE((*parsed)[1].end, (*parsed)[0].begin) << json;
    }
  }
  EXPECT_GT(accepted, 100) << "the mutations are too wild to test what is accepted";
  EXPECT_LT(accepted, 19'000);
}

TEST(HeaderLength, IsCheckedAgainstTheFile) {
  const auto length = [](uint64_t value, int64_t file_size) {
    const std::string bytes = LittleEndian64(value);
    return HeaderLength(reinterpret_cast<const uint8_t*>(bytes.data()), file_size);
  };
  EXPECT_EQ(length(300, 308).value(), 300);
  EXPECT_THAT(std::string(length(300, 307).status().message()), HasSubstr("cut off"));
  EXPECT_THAT(std::string(length(0, 7).status().message()), HasSubstr("begins with 8 bytes"));
  EXPECT_THAT(std::string(length(100'000'001, int64_t{1} << 40).status().message()),
              HasSubstr("at most 100000000"));
  EXPECT_FALSE(length(UINT64_MAX, int64_t{1} << 40).ok());
}

}  // namespace
}  // namespace pamir::weights
