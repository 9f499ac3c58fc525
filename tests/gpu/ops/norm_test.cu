#include <cmath>

#include "kernels/norm/norm_cuda.h"
#include "ops/ops_test.cuh"

namespace pamir::gpu_test {
namespace {

using kernels::AddNormCuda;
using kernels::NormCudaArgs;

// One call's inputs and outputs on the host.
struct Norm {
  int rows, width;
  DType delta_type, y_type;
  std::vector<float> x, delta, bias, gamma, beta;
  std::vector<float> x_out, y;

  Norm(int r, int w, DType delta_t, DType y_t)
      : rows(r), width(w), delta_type(delta_t), y_type(y_t) {
    const int64_t count = static_cast<int64_t>(r) * w;
    x = RandomFloats(count, w, 3, 1);
    delta = Rounded(delta_t, RandomFloats(count, w + 1));
    bias = RandomFloats(w, w + 2), gamma = RandomFloats(w, w + 3, 1, 1);
    beta = RandomFloats(w, w + 4);
  }

  // Rows first .. first + count - 1 on the device.
  void Run(int first, int count, bool y_into_x, bool has_delta = true) {
    const int64_t from = static_cast<int64_t>(first) * width, to = from + int64_t{count} * width;
    Buffer<float> x_gpu(std::vector<float>(x.begin() + from, x.begin() + to));
    const TypedBuffer delta_gpu(delta_type,
                                std::vector<float>(delta.begin() + from, delta.begin() + to));
    const Buffer<float> bias_gpu(bias), gamma_gpu(gamma), beta_gpu(beta);
    const TypedBuffer y_gpu(y_type, to - from);
    NormCudaArgs args;
    args.rows = count, args.width = width, args.x = x_gpu.get();
    args.delta = has_delta ? delta_gpu.get() : nullptr, args.delta_type = delta_type;
    args.bias = bias_gpu.get(), args.gamma = gamma_gpu.get(), args.beta = beta_gpu.get();
    args.y = y_gpu.get(), args.y_type = y_type, args.y_into_x = y_into_x;
    CUDA_CHECK(AddNormCuda(args, {}));
    x_out = x_gpu.Get(), y = y_gpu.Get();
  }
};

struct Errors {
  double x = 0, y = 0;
};

// Against the formula in double; twin: the broken one divides the variance by width - 9.
Errors Compare(const Norm& n, bool y_into_x, bool has_delta, bool twin) {
  Errors worst;
  for (int r = 0; r < n.rows; ++r) {
    const int64_t at = static_cast<int64_t>(r) * n.width;
    std::vector<double> x(n.width);
    double mean = 0, variance = 0;
    for (int i = 0; i < n.width; ++i) {
      x[i] = n.x[at + i];
      if (has_delta) x[i] += static_cast<double>(n.delta[at + i]) + n.bias[i];
      mean += x[i] / n.width;
    }
    for (const double v : x) variance += (v - mean) * (v - mean) / (n.width - (twin ? 9 : 0));
    double error_x = 0, norm_x = 0, error_y = 0, norm_y = 0;
    for (int i = 0; i < n.width; ++i) {
      const double y = (x[i] - mean) / std::sqrt(variance + 1e-5) * n.gamma[i] + n.beta[i];
      const double dx = n.x_out[at + i] - (y_into_x ? y : x[i]);
      const double dy = n.y[at + i] - y;
      error_x += dx * dx, norm_x += x[i] * x[i], error_y += dy * dy, norm_y += y * y;
    }
    worst.x = std::max(worst.x, std::sqrt(error_x / norm_x));
    const double relative = std::sqrt(error_y / norm_y);
    if (!(relative <= worst.y)) worst.y = relative;
  }
  return worst;
}

double CompanyDifferences(Norm& n) {
  n.Run(0, n.rows, false);
  const std::vector<float> together = n.y;
  double differences = 0;
  for (const int row : {0, n.rows - 1}) {
    n.Run(row, 1, false);
    const auto at = together.begin() + static_cast<int64_t>(row) * n.width;
    differences += Differences(n.y, {at, at + n.width});
  }
  return differences;
}

void CheckCase(Verdicts& verdicts, int width, DType delta_type, DType y_type) {
  const double tolerance = y_type == DType::kFloat16    ? 6e-4
                           : y_type == DType::kBFloat16 ? 3e-3
                                                        : 2e-6;
  Norm n(5, width, delta_type, y_type);
  const std::string name = "norm, width " + std::to_string(width) + ", " + Name(delta_type) +
                           " to " + Name(y_type) + ": ";
  n.Run(0, n.rows, false);
  const Errors pre = Compare(n, false, true, false);
  verdicts.Row(name + "x", pre.x, 1e-6);
  verdicts.Row(name + "y", pre.y, tolerance);
  if (width == 768) {
    verdicts.Row(name + "variance of too few", Compare(n, false, true, true).y, tolerance, false);
  }
  n.Run(0, n.rows, true);
  verdicts.Row(name + "y into x", Compare(n, true, true, false).x, 2e-6);
  n.Run(0, n.rows, false, false);
  verdicts.Row(name + "y without delta", Compare(n, false, false, false).y, tolerance);
  verdicts.Row(name + "bits, a row alone and in company", CompanyDifferences(n), 0);
}

}  // namespace

void CheckNorm(Verdicts& verdicts, bool tiny) {
  constexpr DType kHalf = DType::kFloat16, kBrain = DType::kBFloat16, kFull = DType::kFloat32;
  for (const int width : {4, 100, 768, 1024, 2048, 2560, 4096, 5120, 7168, 9216, 12288, 16384}) {
    if (tiny && width > 100 && width != 5120) continue;
    CheckCase(verdicts, width, kFull, kHalf);
  }
  for (const int width : {100, 768, 5120}) {
    if (tiny && width > 100) continue;
    CheckCase(verdicts, width, kFull, kFull);
    CheckCase(verdicts, width, kFull, kBrain);
    CheckCase(verdicts, width, kHalf, kHalf);
    CheckCase(verdicts, width, kBrain, kBrain);
  }
}

void TimeNorm() {
  for (const int rows : {1, 32, 128, 2048}) {
    for (const int width : {768, 2048, 5120, 12288}) {
      constexpr int kChain = 40;
      const size_t count = static_cast<size_t>(rows) * width;
      Buffer<float> x(count), vectors(width * 3), delta(count);
      Buffer<uint16_t> y(count);  // fp16
      x.FillBytes(0), vectors.FillBytes(0), delta.FillBytes(0);
      double ms[2];
      for (const bool dependent : {false, true}) {
        ms[dependent] = TimeGraph([&](StreamRef stream) {
          for (int i = 0; i < kChain; ++i) {
            NormCudaArgs args;
            args.rows = rows, args.width = width, args.x = x.get(), args.delta = delta.get();
            args.delta_type = DType::kFloat32;
            args.bias = vectors.get(), args.gamma = vectors.get() + width;
            args.beta = vectors.get() + 2 * width, args.y = y.get();
            args.dependent_launch = dependent && i > 0;
            CUDA_CHECK(AddNormCuda(args, stream));
          }
        });
      }
      std::printf("norm   %4d rows x %5d: %6.2f us, as dependent launches %6.2f us\n", rows, width,
                  ms[0] * 1e3 / kChain, ms[1] * 1e3 / kChain);
    }
  }
}

}  // namespace pamir::gpu_test
