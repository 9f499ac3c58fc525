// Norm, embedding, sampling, conversions and float32 attention on the GPU against references on the
// CPU. Then their speed, unless "--quick" or "--tiny".
#include "ops/ops_test.cuh"

int main(int argc, char** argv) {
  using namespace pamir::gpu_test;  // NOLINT: the program's own
  setvbuf(stdout, nullptr, _IOLBF, 0);
  const Extent extent = ExtentOf(argc, argv);
  const bool tiny = extent == Extent::kTiny;
  Verdicts verdicts;
  CheckNorm(verdicts, tiny);
  CheckEmbedding(verdicts, tiny);
  CheckSample(verdicts, tiny);
  CheckConvert(verdicts, tiny);
  CheckAttentionFloat32(verdicts, tiny);
  if (extent == Extent::kFull) {
    const Buffer<char> memory(size_t{2} << 30);
    const double rate = ReadOnlyRate(memory.get(), memory.size());
    std::printf("read-only stream: %.3f TB/s\n", rate * 1e-12);
    TimeNorm();
    TimeSample();
    TimeConvert(rate);
    TimeAttentionFloat32();
  }
  return verdicts.Finish();
}
