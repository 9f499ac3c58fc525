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

// What a block keeps in shared memory beside its stages' weights.
struct Layout {
  int tile_rows;
  int stage_rows;      // of x in a stage
  int resident_bytes;  // x, where it is not in the stages
  int max_groups;      // warpgroups
};

Layout LayoutOf(const GpuProductArgs& a) {
  const int rows = KernelFor(a.type, a.rows).rows;
  if (a.norm == nullptr) return {rows, rows, 0, MaxGroups(rows)};
  return {rows, 0, static_cast<int>(a.w.in / kBoxK * 1024), kMaxNormGroups};
}

// The last warpgroup may read outputs that are not there, up to 63 rows past the last stage.
int BytesPast(int outs) { return ((outs + 63) / 64 * 64 - outs) * 128; }

int StageBytes(const Layout& l, int outs, int chunks) {
  return (outs + l.stage_rows) * 128 * chunks;
}

int StagesIn(const Layout& l, int outs, int chunks, int bytes) {
  bytes -= 1024 + BytesPast(outs) + l.resident_bytes;
  return std::min(kMaxStages, bytes / StageBytes(l, outs, chunks));
}

int SharedBytes(const Layout& l, const StreamShape& shape) {
  const int ring = shape.stages * StageBytes(l, shape.outs, shape.chunks) + BytesPast(shape.outs);
  const int y = l.tile_rows * (shape.outs + 4) * 4;
  return std::max(ring, y) + l.resident_bytes + 1024;
}

bool Possible(const Layout& l, const StreamShape& shape, const GpuProductArgs& a) {
  const bool neurons = a.w.order == WeightOrder::kNeurons;
  const int most_chunks = !Folded(a.w.in) ? 1 : neurons ? 4 : kMaxChunks;
  return shape.outs > 0 && (shape.outs + 63) / 64 <= l.max_groups &&
         shape.outs % (neurons ? 64 : 8) == 0 && shape.chunks >= 1 && shape.chunks <= most_chunks &&
         shape.stages >= 2 && shape.stages <= kMaxStages && SharedBytes(l, shape) <= kMaxShared &&
         (a.active_out == nullptr || (a.rows <= l.tile_rows && shape.outs % 16 == 0));
}

cudaError_t AllowShared(const void* f) {
  // Compiled for other GPUs (and run here all the same) the kernels are empty.
  if (AttributesOf(f).sharedSizeBytes == 0) return cudaErrorNotSupported;
  return cudaFuncSetAttribute(f, cudaFuncAttributeMaxDynamicSharedMemorySize, kMaxShared);
}

}  // namespace

cudaError_t PrepareStream() {
  for (const DType type : {DType::kFloat16, DType::kBFloat16}) {
    for (int i = 0; i < kStreamTiles; ++i) {
      const StreamKernels& k = KernelsOf(type)[i];
      for (const StreamFunction f : {k.outputs, k.neurons}) {
        const cudaError_t e = AllowShared(reinterpret_cast<const void*>(f));
        if (e != cudaSuccess) return e;
      }
    }
    for (const int rows : {1, 2}) {
      const cudaError_t e = AllowShared(reinterpret_cast<const void*>(NormKernelFor(type, rows)));
      if (e != cudaSuccess) return e;
    }
  }
  return PrepareSkip();
}

bool NormFits(const GpuProductArgs& a) {
  return a.type != DType::kFloat32 && a.rows <= kMaxNormRows && a.w.in <= kMaxNormWidth &&
         a.w.in % kBoxK == 0 && a.w.order == WeightOrder::kOutputs;
}

// What a stage costs beside its instructions on tensor cores counts where a block has few outputs
// (a stage of one box then comes as fast as it is worked through): so stages of several boxes.
constexpr int kStageBytes = 40 * 1024, kNarrowStageBytes = 24 * 1024;  // of weights
constexpr int kLeastStages = 4;

// The layers' products of models up to 2.7B, whose next kernel may come in at once.
constexpr int64_t kNarrow = 2560, kNarrowLength = 4 * kNarrow;

bool Narrow(const GpuProductArgs& a) {
  return std::min(a.w.in, a.w.out) <= kNarrow && std::max(a.w.in, a.w.out) <= kNarrowLength;
}
bool Narrowest(const GpuProductArgs& a) { return Narrow(a) && std::min(a.w.in, a.w.out) <= 1024; }

// Narrow products leave room for a block of a small kernel, the narrowest for one of the next
// product.
int RingBytes(const GpuProductArgs& a) {
  return Narrowest(a) ? 140 * 1024 : Narrow(a) ? 190 * 1024 : kMaxShared;
}

// One block a multiprocessor, with as deep a ring as there is shared memory for: what comes late
// is then asked for early. Two blocks a multiprocessor, or one and the next kernel's,
// were slower for wide models.
StreamShape ChooseStream(const ProductDevice& d, const GpuProductArgs& a) {
  const Layout l = LayoutOf(a);
  const bool neurons = a.w.order == WeightOrder::kNeurons;
  const int grain = neurons ? 64 : (a.active_out != nullptr ? 16 : 8);
  const int most = 64 * l.max_groups;
  StreamShape shape;
  for (int waves = 1;; ++waves) {
    const int64_t blocks = int64_t{d.multiprocessors} * waves;
    shape.outs = Round((a.w.out + blocks - 1) / blocks, grain);
    if (shape.outs <= most) break;
  }
  const int ring = RingBytes(a);
  if (Folded(a.w.in) && l.tile_rows <= 64) {
    const int stage = Narrow(a) ? kNarrowStageBytes : kStageBytes;
    shape.chunks = std::clamp(stage / (shape.outs * 128), 1, neurons ? 4 : kMaxChunks);
    while (shape.chunks > 1 && StagesIn(l, shape.outs, shape.chunks, ring) < kLeastStages) {
      --shape.chunks;
    }
  }
  shape.stages = std::max(StagesIn(l, shape.outs, shape.chunks, ring), 2);
  if (!Narrowest(a)) {  // no more than there are steps: the next kernel's block may find room
    const int step = kBoxK * shape.chunks;
    shape.stages = std::min(shape.stages, std::max(Round(a.w.in, step) / step, 2));
  }
  shape.allow = Narrow(a) ? 0.0f : 0.85f;
  return shape;
}

int StagesThatFit(const GpuProductArgs& a, int outs, int chunks, int bytes) {
  return StagesIn(LayoutOf(a), outs, chunks, bytes == 0 ? kMaxShared : bytes);
}

namespace {

bool MapBlock(const ProductDevice& d, CUtensorMap* map, const GpuProductArgs& a,
              const StreamShape& shape) {
  if (a.w.order == WeightOrder::kNeurons) {
    return MapNeurons(d.encode, map, a.type, a.w, kBoxK * shape.chunks);
  }
  return MapInputs(d.encode, map, a.type, a.w.data, a.w.in, a.w.out, a.w.in,
                   static_cast<uint32_t>(shape.outs), shape.chunks);
}

cudaError_t LaunchNorm(cudaStream_t s, const GpuProductArgs& a, const LaunchShape& launch,
                       const CUtensorMap& w, const StreamParams& p) {
  const NormPrologue& n = *a.norm;
  const NormParams norm = {n.x, n.delta, n.delta_bias, n.gamma, n.beta, n.x_out, n.epsilon};
  LaunchShape with_norm = launch;
  with_norm.threads = std::max(256, 128 * p.groups) + 32;
  return Launch(NormKernelFor(a.type, a.rows), s, with_norm, w, p, norm);
}

}  // namespace

cudaError_t LaunchStream(const ProductDevice& d, cudaStream_t s, const GpuProductArgs& a,
                         const StreamShape& shape) {
  const bool neurons = a.w.order == WeightOrder::kNeurons;
  if (a.active_in != nullptr && neurons && a.rows <= kMaxSkipRows && a.w.in <= kMaxSkipInputs) {
    return LaunchSkip(d, s, a);
  }
  const StreamKernels& k = KernelFor(a.type, a.rows);
  const Layout l = LayoutOf(a);
  CUtensorMap w, x;
  if (!Possible(l, shape, a) || !MapBlock(d, &w, a, shape)) return cudaErrorInvalidValue;
  const StreamParams p = ParamsOf(a, l.tile_rows, l.stage_rows, shape);
  const LaunchShape launch = {(a.w.out + shape.outs - 1) / shape.outs * p.row_tiles,
                              128 * p.groups + 32, SharedBytes(l, shape), a.overlap};
  if (a.norm != nullptr) return LaunchNorm(s, a, launch, w, p);
  if (!MapInputs(d.encode, &x, a.type, a.x, a.w.in, a.rows, a.x_stride,
                 static_cast<uint32_t>(k.rows), shape.chunks)) {
    return cudaErrorInvalidValue;
  }
  return Launch(neurons ? k.neurons : k.outputs, s, launch, w, x, p);
}

}  // namespace pamir::kernels::cuda
