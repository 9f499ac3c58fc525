// The streaming kernels that make their own x by a norm, for one row and for two.
#include "kernels/product/norm_prologue.cuh"

namespace pamir::kernels::cuda {
namespace {

template <DType kType>
NormFunction KernelFor(int64_t rows) {
  return rows <= 1 ? &NormStreamKernel<kType, 1> : &NormStreamKernel<kType, 2>;
}

}  // namespace

NormFunction NormKernelFor(DType type, int64_t rows) {
  return type == DType::kBFloat16 ? KernelFor<DType::kBFloat16>(rows)
                                  : KernelFor<DType::kFloat16>(rows);
}

}  // namespace pamir::kernels::cuda
