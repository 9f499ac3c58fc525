// Products that make their own x against the norm and the product one after the other, bit for bit.
#include <vector>

#include "kernels/norm/norm_cuda.h"
#include "tests/gpu/product/product_test.cuh"

namespace pamir::gpu_test {
namespace {

using namespace kernels::cuda;  // NOLINT: a test

struct Case {
  DType type;
  int out, in, rows;
  bool delta;
};

class Bench {
 public:
  explicit Bench(const Case& c)
      : c_(c),
        n_(size_t(c.rows) * c.in),
        w_(size_t(c.out) * c.in),
        x_(n_),
        sum_(n_),
        sum_apart_(n_),
        delta_(n_),
        vectors_(size_t{3} * c.in),
        bias_(c.out),
        normed_(n_),
        y_(size_t(c.rows) * c.out),
        apart_(size_t(c.rows) * c.out) {
    Fill(w_.data, c.type, w_.count, 1, 0.05f);
    Fill(x_.data, DType::kFloat32, n_, 2, 3);
    Fill(delta_.data, DType::kFloat32, n_, 3, 1);
    Fill(vectors_.data, DType::kFloat32, vectors_.count, 4, 1);
    Fill(bias_.data, DType::kFloat32, c.out, 5, 1);
    PAMIR_CUDA_OK(cudaMemset(sum_.data, 0xff, n_ * 4));
    PAMIR_CUDA_OK(cudaMemset(y_.data, 0xff, y_.count * 2));
    PAMIR_CUDA_OK(cudaMemset(apart_.data, 0xee, apart_.count * 2));
  }

  GpuProductArgs Args(uint16_t* y) const {
    GpuProductArgs a;
    a.type = c_.type;
    a.rows = c_.rows;
    a.w = {w_.data, c_.out, c_.in};
    a.bias = bias_.data;
    a.activation = kernels::Activation::kRelu;
    a.y = y, a.y_type = c_.type, a.y_stride = c_.out;
    return a;
  }

  int Apart(ProductDevice* device) {
    PAMIR_CUDA_OK(cudaMemcpy(sum_apart_.data, x_.data, n_ * 4, cudaMemcpyDeviceToDevice));
    kernels::NormCudaArgs norm;
    norm.rows = c_.rows, norm.width = c_.in;
    norm.x = sum_apart_.data;
    if (c_.delta) norm.delta = delta_.data, norm.bias = vectors_.data;
    norm.delta_type = DType::kFloat32;
    norm.gamma = vectors_.data + c_.in, norm.beta = vectors_.data + 2 * c_.in;
    norm.y = normed_.data, norm.y_type = c_.type;
    PAMIR_CUDA_OK(kernels::AddNormCuda(norm, {}));
    GpuProductArgs a = Args(apart_.data);
    a.x = normed_.data, a.x_stride = c_.in;
    return GpuProduct(device, {}, a);
  }

  bool Fits(ProductDevice* device) {
    NormPrologue norm;
    GpuProductArgs a = Args(y_.data);
    a.norm = &norm;
    return NormPrologueFits(device, a);
  }

  int Together(ProductDevice* device, bool twin) {
    NormPrologue norm;
    norm.x = x_.data;
    if (c_.delta) norm.delta = delta_.data, norm.delta_bias = vectors_.data;
    norm.gamma = vectors_.data + c_.in, norm.beta = vectors_.data + 2 * c_.in;
    norm.x_out = sum_.data;
    if (twin) norm.epsilon = 1e-3f;
    GpuProductArgs a = Args(y_.data);
    a.norm = &norm;
    if (!NormPrologueFits(device, a)) return cudaErrorNotSupported;
    return GpuProduct(device, {}, a);
  }

  int Different() const {
    return Count(y_.data, apart_.data, y_.count * 2) + Count(sum_.data, sum_apart_.data, n_ * 4);
  }

 private:
  static int Count(const void* a, const void* b, size_t bytes) {
    std::vector<uint16_t> p(bytes / 2), q(bytes / 2);
    PAMIR_CUDA_OK(cudaMemcpy(p.data(), a, bytes, cudaMemcpyDeviceToHost));
    PAMIR_CUDA_OK(cudaMemcpy(q.data(), b, bytes, cudaMemcpyDeviceToHost));
    int different = 0;
    for (size_t i = 0; i < p.size(); ++i) different += p[i] != q[i];
    return different;
  }

  Case c_;
  size_t n_;
  Buffer<uint16_t> w_;
  Buffer<float> x_, sum_, sum_apart_, delta_, vectors_, bias_;
  Buffer<uint16_t> normed_, y_, apart_;
};

int RunShape(ProductDevice* device, DType type, int out, int in) {
  int checked = 0, failed = 0, twins = 0;
  for (int rows = 1; rows <= 2; ++rows) {
    for (const bool delta : {true, false}) {
      Bench bench({type, out, in, rows, delta});
      if (!bench.Fits(device)) {
        std::printf("norm and %d x %d: no kernel for it here\n", out, in);
        return 0;
      }
      PAMIR_CUDA_OK(bench.Apart(device));
      PAMIR_CUDA_OK(bench.Together(device, false));
      ++checked;
      failed += bench.Different() != 0;
      PAMIR_CUDA_OK(bench.Together(device, true));
      twins += bench.Different() != 0;
    }
  }
  std::printf("%s norm and %6d x %6d, 1 and 2 rows: %3d checks, %d failed, %d twins differ\n",
              type == DType::kFloat16 ? "fp16" : "bf16", out, in, checked, failed, twins);
  return failed + (twins == 0);
}

}  // namespace

int ParityNorm(ProductDevice* device, Extent extent) {
  const int shapes[][2] = {{192, 64},    {2304, 768},   {3072, 1024}, {6144, 2048},
                           {8192, 2048}, {10240, 2560}, {1000, 192}};
  int failed = 0;
  for (const DType type : {DType::kFloat16, DType::kBFloat16}) {
    for (const auto& shape : shapes) {
      if (extent == Extent::kTiny && shape[0] * shape[1] > 200000) continue;
      failed += RunShape(device, type, shape[0], shape[1]);
    }
  }
  return failed;
}

}  // namespace pamir::gpu_test
