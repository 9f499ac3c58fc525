// The full skip on the GPU: parity, then speed unless "--quick" or "--tiny"; "--speed": speed
// alone.
#include <cstring>

#include "tests/gpu/skip/skip_test.cuh"

int main(int argc, char** argv) {
  using namespace pamir::gpu_test;  // NOLINT: the program's own
  setvbuf(stdout, nullptr, _IOLBF, 0);
  const Extent extent = ExtentOf(argc, argv);
  Verdicts verdicts;
  if (argc < 2 || std::strcmp(argv[1], "--speed") != 0) CheckSkip(verdicts, extent);
  if (extent == Extent::kFull) TimeSkip();
  return verdicts.Finish();
}
