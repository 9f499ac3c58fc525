// A GPU's weights: read into pinned memory and copied to the device while more is read.
#include <algorithm>
#include <thread>
#include <vector>

#include "base/status_macros.h"
#include "engine/weights/cuda_weights.h"
#include "engine/weights/place_weights.h"
#include "engine/weights/weight_loader.h"

namespace pamir::weights {
namespace {

using spec::WeightForm;
using spec::WeightPiece;

static_assert(spec::kCudaBlockSize == kernels::kKvCudaBlock);
static_assert(spec::kCudaMaxHeadDim == kernels::kCudaHeadDimMax);
static_assert(spec::kCudaFp8ScaleBytes == kernels::kKvFp8ScaleBytes);
static_assert(spec::kCudaMaxTextVocab == kernels::kSampleCudaVocabMax);
static_assert(kernels::PaddedHeadDim(1) == spec::kCudaHeadDimPadding &&
              kernels::PaddedHeadDim(spec::kCudaHeadDimPadding) == spec::kCudaHeadDimPadding);

// Enough to keep up with the bus; more threads only pin more memory.
constexpr int kMaxDefaultThreads = 16;

// Biases that a product adds are kept in fp32 but hold values of the weights' type, so that every
// way of multiplying may take them in either.
bool BelongsToProduct(spec::WeightRole role) {
  return role == spec::WeightRole::kQkvBias || role == spec::WeightRole::kFc1Bias;
}

void RoundTo(DType type, float* values, int64_t count) {
  if (type == DType::kFloat32) return;
  for (int64_t i = 0; i < count; ++i) {
    uint16_t rounded = 0;
    StoreFromFloat(type, &rounded, 0, values[i]);
    values[i] = LoadAsFloat(type, &rounded, 0);
  }
}

// What all lanes share.
struct CudaPlace {
  const LoadPlan& plan;
  char* const base;  // of the allocation on the device
  const device::CudaDevice& device;
  bool transposes = false;  // a piece is kColumns
};

// A stream and two halves of pinned memory: one is read into while the other is copied.
class CudaLane final : public LoadLane {
 public:
  explicit CudaLane(const CudaPlace& place) : place_(place), api_(place.device.api()) {}

  absl::Status Open() {
    PAMIR_RETURN_IF_ERROR(place_.device.Use());
    const int64_t bytes = place_.plan.largest_chunk;
    PAMIR_ASSIGN_OR_RETURN(stream_, device::MakeStream(place_.device));
    for (Half& half : halves_) {
      PAMIR_ASSIGN_OR_RETURN(
          half.memory, device::AllocatePinned(place_.device, bytes, "the buffers of loading"));
      PAMIR_ASSIGN_OR_RETURN(half.copied, device::MakeEvent(place_.device));
    }
    if (!place_.transposes) return absl::OkStatus();
    PAMIR_ASSIGN_OR_RETURN(scratch_,
                           device::AllocateCuda(place_.device, bytes, "the buffers of loading"));
    return absl::OkStatus();
  }

  // Nothing may be freed while it is copied, on the way of an error too.
  ~CudaLane() override {
    if (stream_.valid()) api_.synchronize_stream(stream_.get());
  }

  absl::StatusOr<void*> Room(const WeightPiece& piece, DType from, int64_t count) override {
    half_ = 1 - half_;
    Half& half = halves_[half_];
    if (half.in_flight) {
      half.in_flight = false;
      PAMIR_RETURN_IF_ERROR(Check(api_.synchronize_event(half.copied.get())));
    }
    if (from == place_.plan.KeptAs(piece)) return half.memory.get();
    const size_t bytes = static_cast<size_t>(count) * SizeOf(from);
    if (unconverted_.size() < bytes) unconverted_.resize(bytes);
    return unconverted_.data();
  }

  absl::Status Place(const WeightPiece& piece, DType from, Range held) override {
    Half& half = halves_[half_];
    const DType to = place_.plan.KeptAs(piece);
    const int64_t count = held.size() * piece.columns;
    if (from != to) ConvertValues(from, unconverted_.data(), to, half.memory.get(), count);
    if (BelongsToProduct(piece.role)) {
      RoundTo(place_.plan.weight_dtype, static_cast<float*>(half.memory.get()), count);
    }
    half.in_flight = true;
    PAMIR_RETURN_IF_ERROR(piece.form == WeightForm::kColumns
                              ? CopyTransposed(piece, to, held, half.memory.get())
                              : CopyRows(piece, to, held, half.memory.get()));
    return Check(api_.record_event(half.copied.get(), stream_.get()));
  }

  absl::Status Finish() override { return Check(api_.synchronize_stream(stream_.get())); }

 private:
  struct Half {
    device::PinnedMemory memory;
    device::CudaEvent copied;
    bool in_flight = false;
  };

  absl::Status Check(int error) const { return place_.device.Check(error, "load weights"); }

  absl::Status CopyRows(const WeightPiece& piece, DType to, Range held, const void* from) {
    const auto element = static_cast<int64_t>(SizeOf(to));
    char* const at = place_.base + piece.offset + held.begin * piece.columns * element;
    return Check(api_.copy(at, from, held.size() * piece.columns * element, stream_.get()));
  }

  // The stream's order keeps the scratch until the transpose before has read it.
  absl::Status CopyTransposed(const WeightPiece& piece, DType to, Range held, const void* from) {
    const auto element = static_cast<int64_t>(SizeOf(to));
    PAMIR_RETURN_IF_ERROR(Check(
        api_.copy(scratch_.get(), from, held.size() * piece.columns * element, stream_.get())));
    return Check(api_.transpose({.in = scratch_.get(),
                                 .rows = held.size(),
                                 .columns = piece.columns,
                                 .in_stride = piece.columns,
                                 .out = place_.base + piece.offset + held.begin * element,
                                 .out_stride = piece.rows,
                                 .element_bytes = element},
                                stream_.get()));
  }

  const CudaPlace& place_;
  const kernels::CudaApi& api_;
  device::CudaStream stream_;
  Half halves_[2];
  int half_ = 0;
  device::CudaMemory scratch_;
  std::vector<char> unconverted_;
};

class CudaTarget final : public LoadTarget {
 public:
  explicit CudaTarget(const CudaPlace& place) : place_(place) {}

  absl::StatusOr<std::unique_ptr<LoadLane>> OpenLane() override {
    auto lane = std::make_unique<CudaLane>(place_);
    PAMIR_RETURN_IF_ERROR(lane->Open());
    return lane;
  }

 private:
  const CudaPlace& place_;
};

bool Transposes(const spec::WeightLayout& layout) {
  return std::any_of(layout.pieces.begin(), layout.pieces.end(),
                     [](const WeightPiece& piece) { return piece.form == WeightForm::kColumns; });
}

int DefaultThreads() {
  return std::min(kMaxDefaultThreads, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace

absl::StatusOr<CudaWeights> LoadCudaWeights(const spec::ModelSpec& model,
                                            const spec::ShardPlan& plan, int rank,
                                            const TensorSource& source, int threads,
                                            const std::function<void(LoadProgress)>& progress,
                                            const device::CudaDevice& device) {
  PAMIR_ASSIGN_OR_RETURN(const LoadPlan load,
                         PlanLoad(model, plan, rank, source, spec::DeviceKind::kCuda));
  PAMIR_RETURN_IF_ERROR(device.Use());
  PAMIR_ASSIGN_OR_RETURN(device::CudaMemory memory,
                         device::AllocateCuda(device, load.layout.bytes, "the weights"));
  char* const base = static_cast<char*>(memory.get());
  const CudaPlace place{load, base, device, Transposes(load.layout)};
  CudaTarget target(place);
  PAMIR_RETURN_IF_ERROR(
      FillTarget(load, source, target, threads > 0 ? threads : DefaultThreads(), progress));
  CudaWeights weights = PlaceWeights<kernels::cuda::GpuMatrix>(model, load.layout, load.layers,
                                                               load.weight_dtype, base);
  weights.storage = std::make_shared<device::CudaMemory>(std::move(memory));
  return weights;
}

}  // namespace pamir::weights
