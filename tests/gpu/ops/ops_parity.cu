// Norm, embedding and sampling on the GPU against references on the CPU. Then
// their speed, unless "--quick".
#include <cstring>

#include "ops/ops_test.cuh"

int main(int argc, char** argv) {
  pamir::gpu_test::Verdicts verdicts;
  pamir::gpu_test::CheckNorm(verdicts);
  pamir::gpu_test::CheckEmbedding(verdicts);
  pamir::gpu_test::CheckSample(verdicts);
  if (argc < 2 || std::strcmp(argv[1], "--quick") != 0) {
    pamir::gpu_test::TimeNorm();
    pamir::gpu_test::TimeSample();
  }
  return verdicts.Finish();
}
