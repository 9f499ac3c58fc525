// Checks the arguments and picks the way.
#include <cuda_runtime.h>

#include "kernels/product/product_parts.cuh"

namespace pamir::kernels::cuda {
namespace {

bool Aligned(const void* p) { return p != nullptr && reinterpret_cast<uintptr_t>(p) % 16 == 0; }

bool Sound(const ProductDevice& d, const GpuProductArgs& a) {
  const int64_t contiguous = a.w.order == WeightOrder::kNeurons ? a.w.out : a.w.in;
  constexpr int64_t kMax = int64_t{1} << 30;
  if (a.type == DType::kBFloat16 && !d.bfloat16) return false;
  if (a.type == DType::kFloat32 && a.active_out != nullptr) return false;
  const bool x = a.norm != nullptr ? NormPrologueFits(&d, a) && Aligned(a.norm->x)
                                   : Aligned(a.x) && a.x_stride % 8 == 0 && a.x_stride >= a.w.in;
  return x && a.rows > 0 && a.rows < kMax && a.w.out > 0 && a.w.out < kMax && a.w.in > 0 &&
         a.w.in < kMax && contiguous % 8 == 0 && a.y_stride >= a.w.out && Aligned(a.w.data) &&
         a.y != nullptr && (a.active_out == nullptr || a.rows <= kMaxFlagRows);
}

}  // namespace

int OpenProduct(bool cublaslt, ProductDevice** device) {
  auto d = std::make_unique<ProductDevice>();
  cudaDeviceProp properties;
  cudaError_t e = cudaGetDevice(&d->device);
  if (e == cudaSuccess) e = cudaGetDeviceProperties(&properties, d->device);
  if (e != cudaSuccess) return e;
  d->capability = properties.major * 10 + properties.minor;
  d->multiprocessors = properties.multiProcessorCount;
  d->bfloat16 = PlainHasBFloat16();
  if (d->capability == 90) {  // the streaming kernels are Hopper's own code
    void* entry = nullptr;
    cudaDriverEntryPointQueryResult found;
    e = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000, cudaEnableDefault,
                                         &found);
    if (e == cudaSuccess && found == cudaDriverEntryPointSuccess &&
        PrepareStream() == cudaSuccess) {
      d->encode = reinterpret_cast<EncodeTiled>(entry);
    }
    cudaGetLastError();
  }
  if (cublaslt) d->lt.reset(OpenLt());
  *device = d.release();
  return cudaSuccess;
}

void CloseProduct(ProductDevice* device) { delete device; }

int GpuProduct(const ProductDevice* device, StreamRef stream, const GpuProductArgs& args) {
  if (!Sound(*device, args)) return cudaErrorInvalidValue;
  const auto s = static_cast<cudaStream_t>(stream.handle);
  cudaError_t error = cudaSuccess;
  if (args.type == DType::kFloat32) return LaunchFloat32(s, args);
  if (args.rows > kMaxStreamedRows && LaunchLt(*device, s, args, &error)) return error;
  if (device->encode == nullptr) return LaunchPlain(s, args);
  return LaunchStream(*device, s, args, ChooseStream(*device, args));
}

bool NormPrologueFits(const ProductDevice* device, const GpuProductArgs& args) {
  return device->encode != nullptr && NormFits(args);
}

StreamShape ChooseShape(const ProductDevice* device, const GpuProductArgs& args) {
  return ChooseStream(*device, args);
}

int GpuProductBy(const ProductDevice* device, StreamRef stream, const GpuProductArgs& args,
                 const StreamShape* shape) {
  if (!Sound(*device, args)) return cudaErrorInvalidValue;
  const auto s = static_cast<cudaStream_t>(stream.handle);
  if (args.type == DType::kFloat32) return LaunchFloat32(s, args);
  if (shape == nullptr) return args.norm == nullptr ? LaunchPlain(s, args) : cudaErrorInvalidValue;
  if (device->encode == nullptr) return cudaErrorNotSupported;
  return LaunchStream(*device, s, args, *shape);
}

}  // namespace pamir::kernels::cuda
