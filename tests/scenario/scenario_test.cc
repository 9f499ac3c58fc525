// One test for each .txt file of this folder.
#include "scenario/scenario.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace pamir::testing {
namespace {

std::filesystem::path Folder() {
  return std::filesystem::path(PAMIR_SOURCE_DIR) / "tests" / "scenario";
}

std::vector<std::string> Names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(Folder())) {
    const std::filesystem::path& path = entry.path();
    if (path.extension() == ".txt" && path.stem() != "CMakeLists") {
      names.push_back(path.stem().string());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> ReadLines(const std::filesystem::path& path) {
  std::ifstream in(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

// The file as it would be if the scheduler were right: comments and commands kept, the indented
// lines replaced by what the commands gave.
std::vector<std::string> Replay(const std::vector<std::string>& lines) {
  std::vector<std::string> out;
  Scenario scenario;
  for (const std::string& line : lines) {
    if (line.rfind("  ", 0) == 0) continue;
    out.push_back(line);
    if (line.empty() || line[0] == '#') continue;
    for (std::string& got : scenario.Run(ParseCommand(line))) out.push_back(std::move(got));
  }
  return out;
}

// Line by line from the first difference on: "-" expected, "+" got.
std::string Difference(const std::vector<std::string>& expected,
                       const std::vector<std::string>& got) {
  const size_t common = std::min(expected.size(), got.size());
  size_t first = 0;
  while (first < common && expected[first] == got[first]) ++first;
  std::string text = "first difference in line " + std::to_string(first + 1) + "\n";
  for (size_t i = first > 3 ? first - 3 : 0; i < first; ++i) text += " " + expected[i] + "\n";
  const size_t until = first + 12;
  for (size_t i = first; i < std::min(until, expected.size()); ++i)
    text += "-" + expected[i] + "\n";
  for (size_t i = first; i < std::min(until, got.size()); ++i) text += "+" + got[i] + "\n";
  return text;
}

class ScenarioTest : public ::testing::TestWithParam<std::string> {};

TEST_P(ScenarioTest, GivesWhatIsWritten) {
  const std::filesystem::path path = Folder() / (GetParam() + ".txt");
  const std::vector<std::string> expected = ReadLines(path);
  const std::vector<std::string> got = Replay(expected);
  if (std::getenv("PAMIR_UPDATE_SCENARIOS") != nullptr) {  // then read the difference in git
    std::ofstream out(path);
    for (const std::string& line : got) out << line << "\n";
  }
  EXPECT_TRUE(expected == got) << path << ": " << Difference(expected, got);
}

INSTANTIATE_TEST_SUITE_P(Files, ScenarioTest, ::testing::ValuesIn(Names()),
                         [](const auto& info) { return info.param; });

TEST(Scenarios, AreThere) { EXPECT_GE(Names().size(), 12u); }

// The runner must be able to fail.
TEST(Scenarios, AWrongExpectationIsSeen) {
  const std::vector<std::string> wrong = {"options", "ready 1", "arrive 1 prompt=3 max=1", "step",
                                          "  plan epoch=1 step=2"};
  const std::vector<std::string> got = Replay(wrong);
  EXPECT_NE(wrong, got);
  EXPECT_NE(Difference(wrong, got).find("+  plan epoch=1 step=1"), std::string::npos);
}

}  // namespace
}  // namespace pamir::testing
