#include "engine/weights/weight_loader.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <limits>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/status_macros.h"
#include "engine/weights/check_tensor.h"
#include "engine/weights/progress.h"

namespace pamir::weights {
namespace {

using spec::WeightPiece;
using spec::WeightSource;

constexpr int kMaxLoadThreads = 64;
// What a thread reads at once. Together with the threads this bounds the memory beside the weights.
constexpr int64_t kStagingBytes = 4 * kMiB;
// A chunk is whole panels, and whole cache lines of a matrix that lies by neurons, so that no two
// threads write near each other.
constexpr int64_t kChunkRows = 32;
static_assert(kChunkRows % kernels::kPanelOutputs == 0);

struct Chunk {
  const WeightPiece* piece = nullptr;
  Range rows;  // of the piece
};

// What the tensors of the model must look like.
absl::Status CheckNeeded(const spec::ModelSpec& model, const TensorSource& source, LoadPlan& plan) {
  std::unordered_map<std::string, spec::TensorSpec> expected;
  for (spec::TensorSpec& tensor : spec::CheckpointTensors(model)) {
    expected.emplace(tensor.name, std::move(tensor));
  }
  for (const WeightPiece& piece : plan.layout.pieces) {
    for (const WeightSource& part : piece.sources) {
      PAMIR_ASSIGN_OR_RETURN(const TensorInfo found, FindChecked(source, expected.at(part.tensor)));
      plan.stored[part.tensor] = found.dtype;
      plan.bytes +=
          part.rows.size() * part.columns.size() * static_cast<int64_t>(SizeOf(found.dtype));
    }
  }
  return absl::OkStatus();
}

// Of a value of the piece, as it is stored in any of its tensors.
int64_t StoredBytes(const WeightPiece& piece, const LoadPlan& plan) {
  size_t element = 1;
  for (const WeightSource& part : piece.sources) {
    element = std::max(element, SizeOf(plan.stored.at(part.tensor)));
  }
  return static_cast<int64_t>(element);
}

int64_t RowsOfChunk(const WeightPiece& piece, const LoadPlan& plan) {
  const int64_t row_bytes = piece.columns * StoredBytes(piece, plan);
  return std::max(int64_t{1}, kStagingBytes / row_bytes / kChunkRows) * kChunkRows;
}

int64_t LargestChunk(const LoadPlan& plan) {
  int64_t largest = 0;
  for (const WeightPiece& piece : plan.layout.pieces) {
    const int64_t rows = std::min(piece.rows, RowsOfChunk(piece, plan));
    const auto kept = static_cast<int64_t>(SizeOf(plan.KeptAs(piece)));
    largest = std::max(largest, rows * piece.columns * std::max(kept, StoredBytes(piece, plan)));
  }
  return largest;
}

std::vector<Chunk> CutIntoChunks(const LoadPlan& plan) {
  std::vector<Chunk> chunks;
  for (const WeightPiece& piece : plan.layout.pieces) {
    const int64_t step = RowsOfChunk(piece, plan);
    for (int64_t row = 0; row < piece.rows; row += step) {
      chunks.push_back({&piece, {row, std::min(piece.rows, row + step)}});
    }
  }
  return chunks;
}

class Loader {
 public:
  Loader(const LoadPlan& plan, const TensorSource& source, LoadTarget& target, ProgressMeter& meter)
      : plan_(plan), source_(source), target_(target), meter_(meter) {}

  absl::Status Run(const std::vector<Chunk>& chunks, int threads) {
    std::vector<std::thread> helpers;
    for (int i = 1; i < threads; ++i) helpers.emplace_back([&] { Work(chunks); });
    Work(chunks);
    for (std::thread& helper : helpers) helper.join();
    return error_;
  }

 private:
  // Of the lanes themselves: an error of a chunk says more.
  static constexpr size_t kNoChunk = std::numeric_limits<size_t>::max();

  void Work(const std::vector<Chunk>& chunks) {
    const absl::StatusOr<std::unique_ptr<LoadLane>> lane = target_.OpenLane();
    if (!lane.ok()) return Fail(kNoChunk, lane.status());
    while (!stop_.load(std::memory_order_relaxed)) {
      const size_t index = next_.fetch_add(1, std::memory_order_relaxed);
      if (index >= chunks.size()) break;
      const absl::Status status = Fill(chunks[index], **lane);
      if (!status.ok()) Fail(index, status);
    }
    const absl::Status status = (*lane)->Finish();
    if (!status.ok()) Fail(kNoChunk, status);
  }

  void Fail(size_t index, const absl::Status& status) {
    stop_.store(true, std::memory_order_relaxed);
    absl::MutexLock lock(&mutex_);
    if (!error_.ok() && index >= error_chunk_) return;
    error_ = status;
    error_chunk_ = index;
  }

  absl::Status Fill(const Chunk& chunk, LoadLane& lane) {
    for (const WeightSource& part : chunk.piece->sources) {
      const Range held{std::max(chunk.rows.begin, part.to_row),
                       std::min(chunk.rows.end, part.to_row + part.rows.size())};
      if (held.size() > 0) PAMIR_RETURN_IF_ERROR(FillFrom(*chunk.piece, part, held, lane));
    }
    return absl::OkStatus();
  }

  // Rows `held` of the piece, all of which come from `part`.
  absl::Status FillFrom(const WeightPiece& piece, const WeightSource& part, Range held,
                        LoadLane& lane) {
    const DType from = plan_.stored.at(part.tensor);
    const int64_t shift = part.rows.begin - part.to_row;
    const Range rows{held.begin + shift, held.end + shift};
    const int64_t count = rows.size() * piece.columns;
    PAMIR_ASSIGN_OR_RETURN(void* const room, lane.Room(piece, from, count));
    PAMIR_RETURN_IF_ERROR(source_.Read(part.tensor, rows, part.columns, room));
    PAMIR_RETURN_IF_ERROR(CheckFinite(part.tensor, from, plan_.KeptAs(piece), room, rows.size(),
                                      piece.columns, rows.begin, part.columns.begin));
    PAMIR_RETURN_IF_ERROR(lane.Place(piece, from, held));
    meter_.Add(count * static_cast<int64_t>(SizeOf(from)));
    return absl::OkStatus();
  }

  const LoadPlan& plan_;
  const TensorSource& source_;
  LoadTarget& target_;
  ProgressMeter& meter_;
  std::atomic<size_t> next_{0};
  std::atomic<bool> stop_{false};
  absl::Mutex mutex_;
  size_t error_chunk_ = 0;
  absl::Status error_;
};

}  // namespace

absl::StatusOr<LoadPlan> PlanLoad(const spec::ModelSpec& model, const spec::ShardPlan& plan,
                                  int rank, const TensorSource& source, spec::DeviceKind device) {
  if (rank < 0 || rank >= plan.ranks()) {
    return absl::InvalidArgumentError(
        absl::StrCat("rank ", rank, " is not one of the plan's ", plan.ranks(), " ranks"));
  }
  if (plan.device != device) {
    return absl::InvalidArgumentError(absl::StrCat("the plan is for ", spec::Name(plan.device),
                                                   ", this rank runs on ", spec::Name(device)));
  }
  LoadPlan load;
  load.layout = spec::WeightLayoutOf(model, plan, rank);
  load.weight_dtype = plan.weight_dtype;
  load.layers = plan.stages[spec::PlaceOfRank(plan, rank).stage].layers;
  PAMIR_RETURN_IF_ERROR(CheckNeeded(model, source, load));
  load.largest_chunk = LargestChunk(load);
  return load;
}

absl::Status FillTarget(const LoadPlan& plan, const TensorSource& source, LoadTarget& target,
                        int threads, const std::function<void(LoadProgress)>& progress) {
  ProgressMeter meter(plan.bytes, progress);
  Loader loader(plan, source, target, meter);
  const std::vector<Chunk> chunks = CutIntoChunks(plan);
  PAMIR_RETURN_IF_ERROR(loader.Run(chunks, std::clamp(threads, 1, kMaxLoadThreads)));
  meter.Finish();
  return absl::OkStatus();
}

void ConvertValues(DType from, const void* source, DType to, void* out, int64_t count) {
  if (from == to) {
    std::memcpy(out, source, static_cast<size_t>(count) * SizeOf(to));
    return;
  }
  for (int64_t i = 0; i < count; ++i) StoreFromFloat(to, out, i, LoadAsFloat(from, source, i));
}

}  // namespace pamir::weights
