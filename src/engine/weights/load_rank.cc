// Fills a rank's weight layout: threads take chunks of pieces, read them, check them, pack them.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>
#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/status_macros.h"
#include "core/spec/weight_layout.h"
#include "engine/device/host_buffer.h"
#include "engine/weights/check_tensor.h"
#include "engine/weights/place_weights.h"
#include "engine/weights/progress.h"
#include "engine/weights/rank_weights.h"

namespace pamir::weights {
namespace {

using spec::WeightForm;
using spec::WeightLayout;
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

using DTypes = std::unordered_map<std::string, DType>;  // of the stored tensors

// What a tensor of the model must look like, checked before a byte is allocated.
absl::StatusOr<DTypes> CheckNeeded(const spec::ModelSpec& model, const WeightLayout& layout,
                                   const TensorSource& source) {
  std::unordered_map<std::string, spec::TensorSpec> expected;
  for (spec::TensorSpec& tensor : spec::CheckpointTensors(model)) {
    expected.emplace(tensor.name, std::move(tensor));
  }
  DTypes dtypes;
  for (const WeightPiece& piece : layout.pieces) {
    for (const WeightSource& part : piece.sources) {
      PAMIR_ASSIGN_OR_RETURN(const TensorInfo found, FindChecked(source, expected.at(part.tensor)));
      dtypes[part.tensor] = found.dtype;
    }
  }
  return dtypes;
}

int64_t RowsOfChunk(const WeightPiece& piece, const DTypes& dtypes) {
  size_t element = 1;
  for (const WeightSource& part : piece.sources) {
    element = std::max(element, SizeOf(dtypes.at(part.tensor)));
  }
  const int64_t row_bytes = piece.columns * static_cast<int64_t>(element);
  return std::max(int64_t{1}, kStagingBytes / row_bytes / kChunkRows) * kChunkRows;
}

std::vector<Chunk> CutIntoChunks(const WeightLayout& layout, const DTypes& dtypes) {
  std::vector<Chunk> chunks;
  for (const WeightPiece& piece : layout.pieces) {
    const int64_t step = RowsOfChunk(piece, dtypes);
    for (int64_t row = 0; row < piece.rows; row += step) {
      chunks.push_back({&piece, {row, std::min(piece.rows, row + step)}});
    }
  }
  return chunks;
}

int64_t BytesToRead(const WeightLayout& layout, const DTypes& dtypes) {
  int64_t total = 0;
  for (const WeightPiece& piece : layout.pieces) {
    for (const WeightSource& part : piece.sources) {
      total += part.rows.size() * part.columns.size() *
               static_cast<int64_t>(SizeOf(dtypes.at(part.tensor)));
    }
  }
  return total;
}

void Convert(DType from, const void* source, DType to, void* out, int64_t count) {
  if (from == to) {
    std::memcpy(out, source, static_cast<size_t>(count) * SizeOf(to));
    return;
  }
  for (int64_t i = 0; i < count; ++i) StoreFromFloat(to, out, i, LoadAsFloat(from, source, i));
}

class Loader {
 public:
  Loader(const TensorSource& source, const DTypes& dtypes, DType weight_dtype, char* base,
         ProgressMeter& meter)
      : source_(source), dtypes_(dtypes), weight_dtype_(weight_dtype), base_(base), meter_(meter) {}

  // Returns the error of the first chunk that failed, whatever the number of threads.
  absl::Status Run(const std::vector<Chunk>& chunks, int threads) {
    std::vector<std::thread> helpers;
    for (int i = 1; i < threads; ++i) helpers.emplace_back([&] { Work(chunks); });
    Work(chunks);
    for (std::thread& helper : helpers) helper.join();
    return error_;
  }

 private:
  void Work(const std::vector<Chunk>& chunks) {
    std::vector<char> staging;
    while (!stop_.load(std::memory_order_relaxed)) {
      const size_t index = next_.fetch_add(1, std::memory_order_relaxed);
      if (index >= chunks.size()) return;
      const absl::Status status = Fill(chunks[index], staging);
      if (status.ok()) continue;
      stop_.store(true, std::memory_order_relaxed);
      absl::MutexLock lock(&mutex_);
      if (error_.ok() || index < error_chunk_) {
        error_ = status;
        error_chunk_ = index;
      }
    }
  }

  absl::Status Fill(const Chunk& chunk, std::vector<char>& staging) {
    for (const WeightSource& part : chunk.piece->sources) {
      const Range held{std::max(chunk.rows.begin, part.to_row),
                       std::min(chunk.rows.end, part.to_row + part.rows.size())};
      if (held.size() > 0) PAMIR_RETURN_IF_ERROR(FillFrom(*chunk.piece, part, held, staging));
    }
    return absl::OkStatus();
  }

  // Rows `held` of the piece, all of which come from `part`.
  absl::Status FillFrom(const WeightPiece& piece, const WeightSource& part, Range held,
                        std::vector<char>& staging) {
    const DType from = dtypes_.at(part.tensor);
    const int64_t shift = part.rows.begin - part.to_row;
    const Range rows{held.begin + shift, held.end + shift};
    const int64_t count = rows.size() * piece.columns;
    const size_t bytes = static_cast<size_t>(count) * SizeOf(from);
    if (staging.size() < bytes) staging.resize(bytes);
    PAMIR_RETURN_IF_ERROR(source_.Read(part.tensor, rows, part.columns, staging.data()));
    const DType to = piece.form == WeightForm::kVector ? DType::kFloat32 : weight_dtype_;
    PAMIR_RETURN_IF_ERROR(CheckFinite(part.tensor, from, to, staging.data(), rows.size(),
                                      piece.columns, rows.begin, part.columns.begin));
    char* const at = base_ + piece.offset;
    if (piece.form == WeightForm::kPanels || piece.form == WeightForm::kNeurons) {
      kernels::PackRows(MatrixOf(piece, weight_dtype_, base_), at, held.begin, held.size(),
                        staging.data(), from, piece.columns);
    } else {
      Convert(from, staging.data(), to, at + held.begin * piece.columns * SizeOf(to), count);
    }
    meter_.Add(static_cast<int64_t>(bytes));
    return absl::OkStatus();
  }

  const TensorSource& source_;
  const DTypes& dtypes_;
  const DType weight_dtype_;
  char* const base_;
  ProgressMeter& meter_;
  std::atomic<size_t> next_{0};
  std::atomic<bool> stop_{false};
  absl::Mutex mutex_;
  size_t error_chunk_ = 0;
  absl::Status error_;
};

}  // namespace

absl::StatusOr<RankWeights> LoadRankWeights(const spec::ModelSpec& model,
                                            const spec::ShardPlan& plan, int rank,
                                            const TensorSource& source, int threads,
                                            const std::function<void(LoadProgress)>& progress) {
  if (rank < 0 || rank >= plan.ranks()) {
    return absl::InvalidArgumentError(
        absl::StrCat("rank ", rank, " is not one of the plan's ", plan.ranks(), " ranks"));
  }
  const WeightLayout layout = spec::WeightLayoutOf(model, plan, rank);
  PAMIR_ASSIGN_OR_RETURN(const DTypes dtypes, CheckNeeded(model, layout, source));
  PAMIR_ASSIGN_OR_RETURN(device::HostBuffer buffer, device::HostBuffer::Allocate(layout.bytes));
  char* const base = static_cast<char*>(buffer.data());

  ProgressMeter meter(BytesToRead(layout, dtypes), progress);
  Loader loader(source, dtypes, plan.weight_dtype, base, meter);
  PAMIR_RETURN_IF_ERROR(
      loader.Run(CutIntoChunks(layout, dtypes), std::clamp(threads, 1, kMaxLoadThreads)));
  meter.Finish();

  const spec::StagePlan& stage = plan.stages[spec::PlaceOfRank(plan, rank).stage];
  RankWeights weights = PlaceWeights(model, layout, stage.layers, plan.weight_dtype, base);
  weights.storage = std::make_shared<device::HostBuffer>(std::move(buffer));
  return weights;
}

}  // namespace pamir::weights
