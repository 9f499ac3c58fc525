#include "bench/device_limits.h"

#include <algorithm>
#include <vector>

#include "base/status_macros.h"
#include "base/thread_pool.h"
#include "base/units.h"
#include "bench/read_loop.h"

namespace pamir::bench {
namespace {

using device::CudaDevice;
using kernels::cuda::ProductDevice;

constexpr int kPasses = 5;
constexpr int64_t kReadBytes = 2 * kGiB;
constexpr int64_t kShareOfMemory = 16;
constexpr int64_t kLargeProduct = 8192;
constexpr int64_t kSmallProduct = 512;
constexpr int64_t kRoomForLargeProduct = 8 * kGiB;
constexpr int64_t kWorkspaceBytes = 32 * kMiB;
constexpr float kShortestMs = 1e-6f;  // a clock may not have moved

// Seconds of the fastest of several, by the device's clock. One more goes before them.
template <typename Enqueue>
absl::StatusOr<double> FastestSeconds(const CudaDevice& device, StreamRef stream, const char* what,
                                      const Enqueue& enqueue) {
  PAMIR_ASSIGN_OR_RETURN(const device::CudaEvent begin, device::MakeEvent(device, true));
  PAMIR_ASSIGN_OR_RETURN(const device::CudaEvent end, device::MakeEvent(device, true));
  const kernels::CudaApi& api = device.api();
  double fastest = 0;
  for (int pass = 0; pass <= kPasses; ++pass) {
    float ms = 0;
    PAMIR_RETURN_IF_ERROR(device.Check(api.record_event(begin.get(), stream), what));
    PAMIR_RETURN_IF_ERROR(device.Check(enqueue(), what));
    PAMIR_RETURN_IF_ERROR(device.Check(api.record_event(end.get(), stream), what));
    PAMIR_RETURN_IF_ERROR(device.Check(api.synchronize_event(end.get()), what));
    PAMIR_RETURN_IF_ERROR(device.Check(api.elapsed_ms(begin.get(), end.get(), &ms), what));
    const double seconds = std::max(ms, kShortestMs) / 1e3;
    if (pass > 0) fastest = pass == 1 ? seconds : std::min(fastest, seconds);
  }
  return fastest;
}

absl::StatusOr<double> ReadRate(const CudaDevice& device, StreamRef stream, int64_t free) {
  constexpr char kWhat[] = "measure the memory's bandwidth";
  constexpr int64_t kSinkBytes = 16;
  const int64_t bytes = std::min(kReadBytes, free / kShareOfMemory / kMiB * kMiB);
  PAMIR_ASSIGN_OR_RETURN(const device::CudaMemory data,
                         device::AllocateCuda(device, bytes + kSinkBytes, "bytes to read"));
  PAMIR_RETURN_IF_ERROR(
      device.Check(device.api().fill(data.get(), 1, bytes + kSinkBytes, stream), kWhat));
  auto* sink = reinterpret_cast<float*>(static_cast<char*>(data.get()) + bytes);
  PAMIR_ASSIGN_OR_RETURN(const double seconds, FastestSeconds(device, stream, kWhat, [&] {
                           return device.api().read_bandwidth(data.get(), bytes, sink, stream);
                         }));
  return static_cast<double>(bytes) / seconds;
}

// Numbers as they come in products: what a GPU does with zeros is faster.
absl::Status FillWithNumbers(const CudaDevice& device, StreamRef stream, DType dtype, void* to,
                             int64_t count) {
  constexpr int64_t kPiece = 1 << 18;
  const auto element = static_cast<int64_t>(SizeOf(dtype));
  std::vector<char> values(static_cast<size_t>(kPiece * element));
  uint32_t state = 1;
  for (size_t i = 0; i < kPiece; ++i) {
    state = state * 1664525u + 1013904223u;
    StoreFromFloat(dtype, values.data(), i, static_cast<float>(state >> 8) * 0x1p-24f - 0.5f);
  }
  for (int64_t done = 0; done < count; done += kPiece) {
    const int64_t bytes = std::min(kPiece, count - done) * element;
    PAMIR_RETURN_IF_ERROR(device.Check(
        device.api().copy(static_cast<char*>(to) + done * element, values.data(), bytes, stream),
        "fill a matrix"));
  }
  return device.Check(device.api().synchronize_stream(stream), "fill a matrix");
}

absl::StatusOr<double> ProductRate(const CudaDevice& device, StreamRef stream, DType dtype,
                                   int64_t size, ProductDevice* products) {
  const kernels::CudaApi& api = device.api();
  const int64_t count = size * size;
  const int64_t bytes = count * static_cast<int64_t>(SizeOf(dtype));
  PAMIR_ASSIGN_OR_RETURN(
      const device::CudaMemory memory,
      device::AllocateCuda(device, 4 * bytes + kWorkspaceBytes, "matrices to multiply"));
  char* const base = static_cast<char*>(memory.get());
  PAMIR_RETURN_IF_ERROR(FillWithNumbers(device, stream, dtype, base, 2 * count));
  kernels::cuda::GpuProductArgs args;
  args.type = args.y_type = dtype;
  args.x = base;
  args.rows = args.x_stride = args.y_stride = size;
  args.w = {.data = base + bytes, .out = size, .in = size};
  args.y = base + 2 * bytes;
  kernels::cuda::TunedWay way;
  if (dtype != DType::kFloat32) {
    PAMIR_RETURN_IF_ERROR(device.Check(
        api.tune_product(products, stream, args, base + 3 * bytes,
                         {base + 4 * bytes, static_cast<size_t>(kWorkspaceBytes)}, &way),
        "tune a product"));
  }
  PAMIR_ASSIGN_OR_RETURN(double seconds, FastestSeconds(device, stream, "time a product", [&] {
                           return api.product(products, stream, args);
                         }));
  // The fastest of cuBLASLt's, whether its bits are ours or not, is the device's rate too.
  if (way.lt_any_us > 0) seconds = std::min(seconds, static_cast<double>(way.lt_any_us) / 1e6);
  const double n = static_cast<double>(size);
  return 2 * n * n * n / seconds;
}

}  // namespace

absl::StatusOr<DeviceLimits> MeasureCpu(int threads) {
  ThreadPool pool(threads);
  ReadLoop loop(&pool);
  DeviceLimits limits;
  for (int pass = 0; pass < kPasses; ++pass) {
    limits.read_bytes_per_s = std::max(limits.read_bytes_per_s, loop.Pass());
  }
  return limits;
}

absl::StatusOr<DeviceLimits> MeasureCuda(const CudaDevice& device, DType dtype) {
  DeviceLimits limits;
  PAMIR_ASSIGN_OR_RETURN(const device::CudaStream stream, device::MakeStream(device));
  PAMIR_ASSIGN_OR_RETURN(const int64_t free, device.FreeBytes());
  PAMIR_ASSIGN_OR_RETURN(limits.read_bytes_per_s, ReadRate(device, stream.get(), free));
  limits.product_size = free >= kRoomForLargeProduct ? kLargeProduct : kSmallProduct;
  ProductDevice* products = nullptr;
  PAMIR_RETURN_IF_ERROR(device.Check(device.api().open_product(true, &products), "open products"));
  const absl::StatusOr<double> rate =
      ProductRate(device, stream.get(), dtype, limits.product_size, products);
  device.api().close_product(products);
  PAMIR_ASSIGN_OR_RETURN(limits.operations_per_s, rate);
  return limits;
}

}  // namespace pamir::bench
