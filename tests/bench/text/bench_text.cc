// How fast text becomes tokens and tokens become text, and what hard input costs.
// Run from the root of the repository: it reads configs/models/fable-14m and the held-out text.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"
#include "core/text/bpe_tokenizer.h"

namespace pamir::text {
namespace {

constexpr char kModel[] = "configs/models/fable-14m";
constexpr size_t kMegabyte = 1 << 20;

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) {
    std::fprintf(stderr, "cannot read %s: run this from the root of the repository\n",
                 path.c_str());
    std::exit(1);
  }
  return {std::istreambuf_iterator<char>(in), {}};
}

std::unique_ptr<flow::Text> Load() {
  const std::string folder = kModel;
  return MakeTokenizer(ReadFile(folder + "/vocab.json"), ReadFile(folder + "/merges.txt")).value();
}

std::string Heldout() { return ReadFile("tests/golden/heldout.txt"); }

void Encode(benchmark::State& state, const std::string& text) {
  const auto tokenizer = Load();
  for (auto _ : state) benchmark::DoNotOptimize(tokenizer->Encode(text).value());
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(text.size()));
}

void BM_Load(benchmark::State& state) {
  for (auto _ : state) benchmark::DoNotOptimize(Load());
}
void BM_EncodeHeldout(benchmark::State& state) { Encode(state, Heldout()); }
void BM_EncodeOneLetter(benchmark::State& state) { Encode(state, std::string(kMegabyte, 'e')); }
void BM_EncodeSpaces(benchmark::State& state) { Encode(state, std::string(kMegabyte, ' ')); }
// One word whose letters merge often.
void BM_EncodeOneLongWord(benchmark::State& state) {
  std::string word;
  while (word.size() < kMegabyte) word += "thereandthentheking";
  word.resize(kMegabyte);
  Encode(state, word);
}

void BM_StreamDecode(benchmark::State& state) {
  const auto tokenizer = Load();
  const std::vector<TokenId> ids = tokenizer->Encode(Heldout()).value();
  const std::vector<std::string> stops(static_cast<size_t>(state.range(0)), "\n\nThe end of it");
  for (auto _ : state) {
    const auto decoder = tokenizer->NewDecoder(stops);
    for (TokenId id : ids) benchmark::DoNotOptimize(decoder->Feed(id));
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(ids.size()));
}

BENCHMARK(BM_Load)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_EncodeHeldout)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_EncodeOneLetter)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_EncodeSpaces)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_EncodeOneLongWord)->Unit(benchmark::kMillisecond);
BENCHMARK(BM_StreamDecode)->Arg(0)->Arg(1)->Arg(16)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace pamir::text

BENCHMARK_MAIN();
