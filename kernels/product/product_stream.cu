// Products on Hopper: which streaming kernel, in what shape. The kernels: stream_kernel.cuh.
#include "kernels/product/stream_parts.cuh"

namespace pamir::kernels::cuda {
namespace {

const StreamKernels* KernelsOf(DType type) {
  return type == DType::kBFloat16 ? kStreamKernelsBFloat16 : kStreamKernelsFloat16;
}

const StreamKernels& KernelFor(DType type, int64_t rows) {
  const StreamKernels* kernels = KernelsOf(type);
  int i = 0;
  while (i < kStreamTiles - 1 && kernels[i].rows < rows) ++i;
  return kernels[i];
}

int Round(int64_t n, int64_t to) { return static_cast<int>((n + to - 1) / to * to); }

// The last warpgroup may read outputs that are not there, up to 63 rows past the last stage.
int BytesPast(int outs) { return ((outs + 63) / 64 * 64 - outs) * 128; }

int StagesFor(int outs, int tile_rows, int chunks, int bytes) {
  return std::min(kMaxStages,
                  (bytes - 1024 - BytesPast(outs)) / ((outs + tile_rows) * 128 * chunks));
}

int YBytes(int tile_rows, int outs) { return tile_rows * (outs + 4) * 4; }

// Of a block.
int SharedBytes(const StreamShape& shape, int tile_rows) {
  const int stage = (shape.outs + tile_rows) * 128 * shape.chunks;
  return std::max(shape.stages * stage + BytesPast(shape.outs), YBytes(tile_rows, shape.outs)) +
         1024;
}

bool Possible(const StreamShape& shape, const GpuProductArgs& a, int tile_rows) {
  const bool neurons = a.w.order == WeightOrder::kNeurons;
  const int most_chunks = !Folded(a.w.in) ? 1 : neurons ? 4 : kMaxChunks;
  return shape.outs > 0 && (shape.outs + 63) / 64 <= MaxGroups(tile_rows) &&
         shape.outs % (neurons ? 64 : 8) == 0 && shape.chunks >= 1 && shape.chunks <= most_chunks &&
         shape.stages >= 1 && shape.stages <= kMaxStages &&
         SharedBytes(shape, tile_rows) <= kMaxShared &&
         (a.active_out == nullptr || (a.rows <= tile_rows && shape.outs % 16 == 0));
}

}  // namespace

cudaError_t PrepareStream() {
  for (const DType type : {DType::kFloat16, DType::kBFloat16}) {
    for (int i = 0; i < kStreamTiles; ++i) {
      const StreamKernels& k = KernelsOf(type)[i];
      for (const StreamFunction f : {k.outputs, k.neurons}) {
        if (CompiledFor(reinterpret_cast<const void*>(f)) < 90) return cudaErrorNotSupported;
        const cudaError_t e =
            cudaFuncSetAttribute(f, cudaFuncAttributeMaxDynamicSharedMemorySize, kMaxShared);
        if (e != cudaSuccess) return e;
      }
    }
  }
  return PrepareSkip();
}

// Products of models up to 2.7B end before a deep ring pays.
constexpr int64_t kSmallSide = 2560;

// One block a multiprocessor, with as deep a ring as there is shared memory for: what comes late
// is then asked for early. Two blocks a multiprocessor, or one and the next kernel's, were slower.
StreamShape ChooseStream(const ProductDevice& d, const GpuProductArgs& a) {
  const int tile_rows = KernelFor(a.type, a.rows).rows;
  const bool neurons = a.w.order == WeightOrder::kNeurons;
  const int grain = neurons ? 64 : (a.active_out != nullptr ? 16 : 8);
  const int most = 64 * MaxGroups(tile_rows);
  StreamShape shape;
  for (int waves = 1;; ++waves) {
    const int64_t blocks = int64_t{d.multiprocessors} * waves;
    shape.outs = Round((a.w.out + blocks - 1) / blocks, grain);
    if (shape.outs <= most) break;
  }
  shape.stages = StagesFor(shape.outs, tile_rows, shape.chunks, kMaxShared);
  if (std::min(a.w.in, a.w.out) <= kSmallSide) {  // half of it: the next kernel comes in beside
    const int half = kMaxShared / 2 / ((shape.outs + tile_rows) * 128);
    shape.stages = std::min(shape.stages, std::max(2, half - 1));
  }
  shape.allow = 0.98f;
  return shape;
}

int StagesThatFit(const GpuProductArgs& a, int outs, int chunks, int bytes) {
  return StagesFor(outs, KernelFor(a.type, a.rows).rows, chunks, bytes == 0 ? kMaxShared : bytes);
}

cudaError_t LaunchStream(const ProductDevice& d, cudaStream_t s, const GpuProductArgs& a,
                         const StreamShape& shape) {
  const bool neurons = a.w.order == WeightOrder::kNeurons;
  if (a.active_in != nullptr && neurons && a.rows <= kMaxSkipRows && a.w.in <= kMaxSkipInputs) {
    return LaunchSkip(d, s, a);
  }
  const StreamKernels& k = KernelFor(a.type, a.rows);
  if (!Possible(shape, a, k.rows)) return cudaErrorInvalidValue;
  CUtensorMap w, x;
  const bool mapped = neurons ? MapNeurons(d.encode, &w, a.type, a.w, kBoxK * shape.chunks)
                              : MapInputs(d.encode, &w, a.type, a.w.data, a.w.in, a.w.out, a.w.in,
                                          static_cast<uint32_t>(shape.outs), shape.chunks);
  if (!mapped || !MapInputs(d.encode, &x, a.type, a.x, a.w.in, a.rows, a.x_stride,
                            static_cast<uint32_t>(k.rows), shape.chunks)) {
    return cudaErrorInvalidValue;
  }
  const StreamParams p = ParamsOf(a, k.rows, shape);
  const int64_t blocks = (a.w.out + shape.outs - 1) / shape.outs * p.row_tiles;
  return Launch(neurons ? k.neurons : k.outputs, s, blocks, 128 * p.groups + 32,
                SharedBytes(shape, k.rows), a.overlap, w, x, p);
}

}  // namespace pamir::kernels::cuda
