// The parts of ops_parity, a file each.
#ifndef PAMIR_TESTS_GPU_OPS_OPS_TEST_CUH_
#define PAMIR_TESTS_GPU_OPS_OPS_TEST_CUH_

#include "support/gpu_test.cuh"

namespace pamir::gpu_test {

void CheckNorm(Verdicts& verdicts);
void CheckEmbedding(Verdicts& verdicts);
void CheckSample(Verdicts& verdicts);
void TimeNorm();
void TimeSample();

}  // namespace pamir::gpu_test

#endif  // PAMIR_TESTS_GPU_OPS_OPS_TEST_CUH_
