// Products on the GPU: parity, then speed. gpu_product [--tiny | --quick | --speed MODEL...]
#include <cstring>

#include "tests/gpu/product/product_test.cuh"
#include "tests/gpu/support/extent.h"

int main(int argc, char** argv) {
  setvbuf(stdout, nullptr, _IOLBF, 0);
  using pamir::gpu_test::Extent;
  const Extent extent = pamir::gpu_test::ExtentOf(argc, argv);
  const bool speed_only = argc > 1 && std::strcmp(argv[1], "--speed") == 0;
  pamir::kernels::cuda::ProductDevice* device = nullptr;
  PAMIR_CUDA_OK(pamir::kernels::cuda::OpenProduct(true, &device));
  int failed = speed_only ? 0 : pamir::gpu_test::Parity(device, extent);
  std::printf("parity: %d failed\n", failed);
  if (extent == Extent::kFull) failed += pamir::gpu_test::Speed(device, argc - 2, argv + 2);
  pamir::kernels::cuda::CloseProduct(device);
  return failed == 0 ? 0 : 1;
}
