// How many neurons of a trained model are active: the share of non-zero fc1 outputs in each layer,
// over the first tokens of the held-out text.   bench_density [MODEL_DIR=configs/models/fable-14m]
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "core/text/bpe_tokenizer.h"
#include "engine/model/opt_rank.h"
#include "engine/weights/tensor_source.h"

namespace pamir::bench {
namespace {

constexpr int32_t kTokens = 2048;

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

int Main(int argc, char** argv) {
  const std::string root = PAMIR_SOURCE_DIR;
  const std::string directory = argc > 1 ? argv[1] : root + "/configs/models/fable-14m";
  const auto model = spec::ParseModelConfig(ReadFile(directory + "/config.json"), directory);
  const auto text =
      text::MakeTokenizer(ReadFile(directory + "/vocab.json"), ReadFile(directory + "/merges.txt"));
  const auto source = weights::OpenCheckpoint(directory);
  if (!model.ok() || !text.ok() || !source.ok()) {
    std::fprintf(stderr, "usage: bench_density [MODEL_DIR], a Hugging Face directory\n");
    return 2;
  }
  flow::Admission admission{.slot = SlotId(0), .ids = {2}};
  const auto encoded = (*text)->Encode(ReadFile(root + "/tests/golden/heldout.txt")).value();
  admission.ids.insert(admission.ids.end(), encoded.begin(), encoded.begin() + kTokens - 1);
  admission.prompt_length = kTokens;
  for (int b = 0; b < kTokens / 16; ++b) admission.blocks.push_back(BlockId(b));

  spec::ShardPlan plan = spec::EvenShardPlan(*model, 1, 1).value();
  plan.limits = {.block_size = 16,
                 .num_blocks = kTokens / 16,
                 .max_num_seqs = 1,
                 .max_num_batched_tokens = kTokens,
                 .max_model_len = kTokens,
                 .text_vocab = (*text)->vocab_size()};
  std::vector<double> active(model->layers);
  model::OptRankOptions options{.model = *model, .plan = plan, .threads = 2};
  options.ffn_observer = [&](int64_t layer, int64_t rows, int64_t width, const float* values) {
    const auto count = std::count_if(values, values + rows * width, [](float v) { return v != 0; });
    active[layer] = static_cast<double>(count) / static_cast<double>(rows * width);
  };
  auto rank = model::MakeOptRank(
                  options, weights::LoadRankWeights(*model, plan, 0, **source, 2, nullptr).value(),
                  {}, nullptr)
                  .value();
  flow::StepPlan step;
  step.admissions.push_back(admission);
  step.rows.push_back({.slot = SlotId(0), .count = kTokens, .kind = flow::RowKind::kPrompt});
  (void)rank->Step(step).value();
  for (size_t layer = 0; layer < active.size(); ++layer) {
    std::printf("layer %zu: %.2f %% of the neurons are active\n", layer, 100 * active[layer]);
  }
  return 0;
}

}  // namespace
}  // namespace pamir::bench

int main(int argc, char** argv) { return pamir::bench::Main(argc, argv); }
