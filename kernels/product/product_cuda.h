// y = epilogue(x · Wᵀ) on an NVIDIA GPU: x and weights in fp16, bf16 or fp32, fp32 sums.
//
// One arithmetic (docs/ARCHITECTURE.md): output y[r][o] is one fp32 accumulation over k ascending
// (fp16, bf16: in tensor-core steps of 16 inputs; fp32: one fused multiply-add an input), then
// + bias[o], then the activation, then one rounding to y's type. The bits depend on the inputs
// alone: not on the number of rows, nor on the way taken (see README-cuda.md for the ways). Every
// way is held to the bits of plain mma.sync m16n8k16 in natural order (fp32: of a loop on the CPU)
// by tests/gpu/product.
#ifndef PAMIR_KERNELS_PRODUCT_PRODUCT_CUDA_H_
#define PAMIR_KERNELS_PRODUCT_PRODUCT_CUDA_H_

#include <cstddef>
#include <cstdint>

#include "base/dtype.h"
#include "base/stream.h"
#include "kernels/product/activation.h"

namespace pamir::kernels::cuda {

// Both are plain matrices, so nothing is repacked when a checkpoint is loaded.
enum class WeightOrder : uint8_t {
  kOutputs,  // [out][in]: the order of checkpoints
  kNeurons,  // [in][out]: one input's weights together, so that idle inputs can be skipped (fc2)
};

// A view of weights on the device, of GpuProductArgs::type; 16-byte aligned, in (kOutputs) or out
// (kNeurons) a multiple of 8. Finite, or skipping would not be exact.
struct GpuMatrix {
  const void* data = nullptr;
  int64_t out = 0;
  int64_t in = 0;
  WeightOrder order = WeightOrder::kOutputs;
};

// Inputs are skipped in groups of one tensor-core step.
inline constexpr int64_t kGroup = 16;
// Up to these rows the own kernels stream the weights as fast as cuBLASLt or faster.
inline constexpr int64_t kMaxStreamedRows = 64;
// Groups are flagged and skipped for up to this many rows; with more, hardly a group is idle.
inline constexpr int64_t kMaxFlagRows = 128;
inline constexpr int64_t kMaxSkipRows = 8;
inline constexpr int64_t kMaxSkipInputs = 65536;  // fc2 of OPT-175B: 49152

// For small batches the product makes its own x: with d = delta + delta_bias (0 without delta),
// x_out = x + d and the product's x is LayerNorm(x + d), rounded to its type. The bits are those of
// AddNormCuda (kernels/norm), in one launch instead of two, while the weights already stream in.
struct NormPrologue {
  const float* x = nullptr;      // [rows][in], the residual stream; 16-byte aligned as all here
  const float* delta = nullptr;  // [rows][in] or null
  const float* delta_bias = nullptr;  // [in] or null
  const float* gamma = nullptr;       // [in] or null: 1
  const float* beta = nullptr;        // [in] or null: 0
  float epsilon = 1e-5f;
  float* x_out = nullptr;  // [rows][in] or null; not x: other blocks still read that
};

struct GpuProductArgs {
  DType type = DType::kFloat16;  // of x and of the weights
  const void* x = nullptr;       // [rows][x_stride], 16-byte aligned, x_stride a multiple of 8
  int64_t rows = 0;
  int64_t x_stride = 0;
  const NormPrologue* norm = nullptr;  // instead of x, where NormPrologueFits; read by the call
  GpuMatrix w;
  const float* bias = nullptr;  // [out] or null
  // The same bias in y_type, where that holds every value exactly (biases of a checkpoint of this
  // type), or null. cuBLASLt takes no other for 16-bit y; without it own kernels do the product.
  const void* bias_in_y_type = nullptr;
  Activation activation = Activation::kNone;
  void* y = nullptr;  // [rows][y_stride], not aliasing x
  DType y_type = DType::kFloat16;
  int64_t y_stride = 0;
  // [ceil(out / 16)] or null: set to 1 where any row's outputs 16 g .. 16 g + 15 are not all zero,
  // else to 0. Needs rows <= kMaxFlagRows and 16-bit weights.
  uint8_t* active_out = nullptr;
  // [ceil(in / 16)] or null: inputs of groups with flag 0 are zero in all rows and may be skipped.
  const uint8_t* active_in = nullptr;
  // Weights may be read before the stream's last kernel has ended (programmatic dependent launch):
  // it must not write them. x, flags and y are touched only after it.
  bool overlap = false;
};

// What is found out once about a device. Made by OpenProduct, immutable afterwards, so that any
// thread may launch with it.
struct ProductDevice;

// Opens the current device. `cublaslt`: also load cuBLASLt (not linked; where it is missing, own
// kernels do all). Returns 0 or a cudaError_t. CloseProduct takes null too.
int OpenProduct(bool cublaslt, ProductDevice** device);
void CloseProduct(ProductDevice* device);

// Scratch that large products may use, on the device; `workspace` of 0 bytes is fine.
struct Workspace {
  void* data = nullptr;
  size_t bytes = 0;
};

// Launches on `stream`; returns 0 or a cudaError_t (cudaErrorInvalidValue for bad arguments and for
// what is not supported). Captures into graphs. Allocates nothing.
int GpuProduct(const ProductDevice* device, StreamRef stream, const GpuProductArgs& args);

// Whether args.norm may be set for this product: a Hopper GPU, 16-bit weights [out][in], few rows,
// a narrow model. Looks at type, rows, w and y's form only.
bool NormPrologueFits(const ProductDevice* device, const GpuProductArgs& args);

// Finds the fastest way for a shape with more than kMaxStreamedRows rows, among those that give the
// bits of the own kernels on `args` (random data and bias, please); synchronises, allocates nothing
// but host memory. `reference` takes a y for comparison: as many bytes as y. What is found serves
// all row counts up to the next power of two. args.y_stride == args.w.out, args.active_out null.
// Call at start-up, not while other threads launch.
struct TunedWay {
  float own_us = 0;     // the own kernel
  float lt_us = 0;      // the fastest exact cuBLASLt algorithm, 0 where none
  float lt_any_us = 0;  // the fastest cuBLASLt algorithm of all, exact or not
  int lt_exact = 0;     // algorithms of cuBLASLt with the same bits
  int lt_tried = 0;
};
int TuneProduct(ProductDevice* device, StreamRef stream, const GpuProductArgs& args,
                void* reference, Workspace workspace, TunedWay* result);

// How the streaming kernel of a Hopper GPU cuts a product up. Changes no bit.
struct StreamShape {
  int outs = 64;    // outputs of a block, a multiple of 8 (16 with flags, 64 with kNeurons), <= 256
  int chunks = 1;   // of 64 inputs in a stage, <= 8 (4 with kNeurons), 1 where in % 64 != 0
  int stages = 4;   // of the ring, <= 24
  float allow = 0;  // the next kernel may start once this share of the weights was asked for
};
StreamShape ChooseShape(const ProductDevice* device, const GpuProductArgs& args);
// The deepest ring of such blocks in `bytes` of shared memory, or in all of it (0).
int StagesThatFit(const GpuProductArgs& args, int outs, int chunks, int bytes = 0);

// The ways by name, for tests and benchmarks. `shape` null: plain mma.sync, any GPU.
int GpuProductBy(const ProductDevice* device, StreamRef stream, const GpuProductArgs& args,
                 const StreamShape* shape);

}  // namespace pamir::kernels::cuda

#endif  // PAMIR_KERNELS_PRODUCT_PRODUCT_CUDA_H_
