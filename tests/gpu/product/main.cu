// Products on the GPU: parity, then speed. gpu_product [--quick | --speed MODEL...]
#include <cstring>

#include "tests/gpu/product/product_test.cuh"

int main(int argc, char** argv) {
  setvbuf(stdout, nullptr, _IOLBF, 0);
  const bool quick = argc > 1 && std::strcmp(argv[1], "--quick") == 0;
  const bool speed_only = argc > 1 && std::strcmp(argv[1], "--speed") == 0;
  pamir::kernels::cuda::ProductDevice* device = nullptr;
  PAMIR_CUDA_OK(pamir::kernels::cuda::OpenProduct(true, &device));
  int failed = speed_only ? 0 : pamir::gpu_test::Parity(device, quick);
  std::printf("parity: %d failed\n", failed);
  if (!quick) failed += pamir::gpu_test::Speed(device, argc - 2, argv + 2);
  pamir::kernels::cuda::CloseProduct(device);
  return failed == 0 ? 0 : 1;
}
