// include/pamir/errors.h and version.h against what they mirror.
#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "gateway/grpc_status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "pamir/errors.h"
#include "pamir/version.h"

namespace pamir {
namespace {

TEST(Catalogue, EveryCodeFindsItsOwnLine) {
  std::set<std::string> names;
  for (size_t i = 0; i < kErrorCatalogue.size(); ++i) {
    const auto code = static_cast<ErrorCode>(i);
    EXPECT_EQ(Describe(code).code, code);
    EXPECT_TRUE(names.insert(Describe(code).name).second) << "two errors of one name";
  }
}

TEST(Catalogue, GrpcSendsTheCodeThatItNames) {
  const std::pair<grpc::StatusCode, std::string> names[] = {
      {grpc::StatusCode::INVALID_ARGUMENT, "INVALID_ARGUMENT"},
      {grpc::StatusCode::RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED"},
      {grpc::StatusCode::UNAVAILABLE, "UNAVAILABLE"},
      {grpc::StatusCode::CANCELLED, "CANCELLED"},
      {grpc::StatusCode::DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED"},
      {grpc::StatusCode::INTERNAL, "INTERNAL"}};
  for (const ErrorInfo& info : kErrorCatalogue) {
    const grpc::Status status = gateway::ToGrpcStatus({info.code, "is odd", "field"});
    std::string name;
    for (const auto& [code, text] : names) {
      if (code == status.error_code()) name = text;
    }
    EXPECT_EQ(name, info.grpc_code) << info.name;
    EXPECT_EQ(status.error_message(), "field: is odd");
  }
}

std::string ReadFile(const std::string& path) {
  std::ifstream in(std::string(PAMIR_SOURCE_DIR) + path);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(Catalogue, TheApiPageHasEveryError) {
  const std::string page = ReadFile("/docs/API.md");
  for (const ErrorInfo& info : kErrorCatalogue) {
    const std::string line = std::string("| `") + info.name + "` | `" + info.grpc_code + "` |";
    EXPECT_THAT(page, ::testing::HasSubstr(line));
  }
}

TEST(Version, IsTheProjects) {
  EXPECT_THAT(ReadFile("/CMakeLists.txt"),
              ::testing::HasSubstr(std::string("project(pamir VERSION ") + kVersion + " "));
}

}  // namespace
}  // namespace pamir
