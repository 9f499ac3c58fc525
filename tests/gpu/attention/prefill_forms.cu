// All forms that Hopper's prefill kernel can take (HopperChoice, heads of a section): each against
// decode, bit for bit; then its speed, unless "--quick". Compiled once for each of PAMIR_HEAD_DIM
// 64, 80 and 128. What it found is in kernels/attention/README-cuda.md.
#include <cstring>
#include <string>

#include "attention/attention_case.cuh"
#include "attention/attention_times.cuh"
#include "kernels/attention/attention_prefill_hopper.cuh"

namespace pamir::gpu_test {
namespace {

constexpr int kDim = PAMIR_HEAD_DIM, kHeads = kDim == 128 ? 40 : 32;
constexpr TimedBatch kBatches[] = {
    {kDim, kHeads, 4, 2048, 2048}, {kDim, kHeads, 1, 2048, 2048}, {kDim, kHeads, 4, 2048, 512}};

struct Form {
  std::string name;
  TimedAttention::Prefiller launch;
};

template <bool turns, bool two_scores, bool in_registers>
Form FormOf(int section_heads = 0) {
  using Choice = kernels::cuda::HopperChoice<turns, two_scores, in_registers>;
  std::string name = turns ? "turns" : two_scores ? "two scores" : "free";
  if (in_registers) name += ", Q in registers";
  if (section_heads > 0) name += ", " + std::to_string(section_heads) + " heads";
  return {name, [section_heads](const AttentionCudaArgs& args, const QueryTile* tiles,
                                int64_t count, int64_t, StreamRef stream) {
            return kernels::cuda::LaunchHopper<kDim, Choice>(args, tiles, count, stream,
                                                             section_heads);
          }};
}

std::vector<Form> Forms() {
  std::vector<Form> forms = {FormOf<true, false, false>(), FormOf<false, false, false>(),
                             FormOf<false, true, false>(), FormOf<true, false, false>(1),
                             FormOf<true, false, false>(kHeads)};
  if constexpr (kDim < 128) {
    forms.push_back(FormOf<false, false, true>());
    forms.push_back(FormOf<false, true, true>());
  }
  return forms;
}

void CheckForms(Verdicts& verdicts, const CaseShape& shape) {
  AttentionCase c(shape);
  CUDA_CHECK(kernels::WriteKvCuda(c.Args(), c.tokens(), {}));
  CUDA_CHECK(kernels::DecodeAttentionCuda(c.Args(), 0, c.tokens(), c.longest(), {}));
  const std::vector<uint16_t> decode = c.Output();
  const Buffer<QueryTile> tiles(c.Tiles(kernels::kTileQueries));
  for (const Form& form : Forms()) {
    c.PoisonOutput();
    CUDA_CHECK(form.launch(c.Args(), tiles.get(), tiles.size(), c.longest(), {}));
    const std::vector<uint16_t> prefill = c.Output();
    double differences = 0;
    for (size_t i = 0; i < decode.size(); ++i) differences += decode[i] != prefill[i];
    verdicts.Row("head dim " + std::to_string(kDim) + ", " + form.name + ": bits", differences, 0);
  }
}

}  // namespace

int Main(Extent extent) {
  Verdicts verdicts;
  const bool tiny = extent == Extent::kTiny;
  CheckForms(verdicts, {kDim, tiny ? 2 : kHeads,
                        tiny ? std::vector<int>{150} : std::vector<int>{700, 130, 1000}});
  if (extent != Extent::kFull) return verdicts.Finish();
  TimedAttention timed;
  for (const TimedBatch& batch : kBatches) {
    for (const Form& form : Forms()) timed.Prefill(batch, form.name.c_str(), form.launch);
  }
  return verdicts.Finish();
}

}  // namespace pamir::gpu_test

int main(int argc, char** argv) {
  return pamir::gpu_test::Main(pamir::gpu_test::ExtentOf(argc, argv));
}
