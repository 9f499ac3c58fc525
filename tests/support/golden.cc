#include "support/golden.h"

#include <cstdlib>
#include <fstream>

#include "nlohmann/json.hpp"

namespace pamir::testing {

std::string SourceDirectory() {
  const char* given = std::getenv("PAMIR_TEST_SOURCE_DIR");
  return given != nullptr ? given : PAMIR_SOURCE_DIR;
}

GoldenModel LoadGolden(const std::string& model) {
  const std::string root = SourceDirectory();
  std::ifstream file(root + "/tests/golden/golden.json");
  const nlohmann::json golden = nlohmann::json::parse(file).at(model);

  GoldenModel out;
  out.directory =
      root + (model.rfind("tiny", 0) == 0 ? "/tests/golden/models/" : "/configs/models/") + model;
  out.perplexity = golden.value("perplexity", 0.0);
  for (const nlohmann::json& entry : golden.at("cases")) {
    GoldenCase c;
    c.prompt = entry.at("prompt");
    c.prompt_ids = entry.at("prompt_ids").get<std::vector<int32_t>>();
    c.greedy_ids = entry.at("greedy_ids").get<std::vector<int32_t>>();
    for (const auto& pair : entry.at("greedy_logprob_and_margin")) {
      c.greedy_logprobs.push_back(pair.at(0));
      c.greedy_margins.push_back(pair.at(1));
    }
    c.greedy_text = entry.at("greedy_text");
    for (const auto& value : entry.at("prompt_logprobs")) {
      if (!value.is_null()) c.prompt_logprobs.push_back(value);
    }
    out.cases.push_back(std::move(c));
  }
  return out;
}

}  // namespace pamir::testing
