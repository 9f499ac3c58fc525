// The nine sizes that OPT was published in.
#include <algorithm>
#include <array>
#include <cctype>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/spec/model_spec.h"

namespace pamir::spec {
namespace {

struct Size {
  const char* name;
  int64_t layers, hidden, heads;
};

// Zhang et al., "OPT: Open Pre-trained Transformer Language Models", 2022, table 1.
constexpr std::array<Size, 9> kSizes = {{{"125m", 12, 768, 12},
                                         {"350m", 24, 1024, 16},
                                         {"1.3b", 24, 2048, 32},
                                         {"2.7b", 32, 2560, 32},
                                         {"6.7b", 32, 4096, 32},
                                         {"13b", 40, 5120, 40},
                                         {"30b", 48, 7168, 56},
                                         {"66b", 64, 9216, 72},
                                         {"175b", 96, 12288, 96}}};

std::string FullName(const Size& size) { return absl::StrCat("opt-", size.name); }

ModelSpec SpecOf(const Size& size) {
  ModelSpec spec;
  spec.name = FullName(size);
  spec.layers = size.layers;
  spec.hidden = size.hidden;
  spec.heads = size.heads;
  spec.ffn = 4 * size.hidden;
  spec.vocab = 50272;
  spec.embed = size.hidden;
  if (spec.name == "opt-350m") {  // the odd one: post-norm, and a narrower embedding
    spec.embed = 512;
    spec.pre_norm = false;
    spec.final_norm = false;
  }
  return spec;
}

}  // namespace

absl::StatusOr<ModelSpec> NamedModel(const std::string& name) {
  std::string wanted = name;
  std::transform(wanted.begin(), wanted.end(), wanted.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const Size& size : kSizes) {
    if (wanted == size.name || wanted == FullName(size)) return SpecOf(size);
  }
  return absl::NotFoundError(absl::StrCat("\"", name, "\" is not a model's name; the names are ",
                                          absl::StrJoin(NamedModels(), ", ")));
}

std::vector<std::string> NamedModels() {
  std::vector<std::string> names;
  for (const Size& size : kSizes) names.push_back(FullName(size));
  return names;
}

}  // namespace pamir::spec
