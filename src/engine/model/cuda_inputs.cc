#include "engine/model/cuda_inputs.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "base/units.h"

namespace pamir::model {
namespace {

using flow::Row;
using flow::RowKind;
using flow::RowWants;

constexpr int64_t kAlign = 16;

// The part of a step in which a row's tokens lie.
int Group(const Row& row) {
  if (row.kind == RowKind::kPrompt) return 2;
  return row.count == 1 ? 0 : 1;
}

template <typename T>
T* At(char* base, int64_t offset) {
  return reinterpret_cast<T*>(base + offset);
}

}  // namespace

InputOffsets OffsetsOf(const StepShape& shape, int64_t max_blocks) {
  InputOffsets at;
  const auto take = [&](int64_t count, size_t size) {
    const int64_t offset = at.bytes;
    at.bytes += RoundUp(count * static_cast<int64_t>(size), kAlign);
    return offset;
  };
  at.ids = take(shape.tokens, sizeof(int32_t));
  at.positions = take(shape.tokens, sizeof(int32_t));
  at.token_row = take(shape.tokens, sizeof(int32_t));
  at.block_table = take(shape.rows * max_blocks, sizeof(int32_t));
  at.picks = take(shape.samples + shape.scores, sizeof(int32_t));
  at.sample_slots = take(shape.samples, sizeof(int32_t));
  at.score_ids = take(shape.scores, sizeof(int32_t));
  at.params = take(shape.samples, sizeof(kernels::SampleRow));
  at.tiles = take(shape.tiles, sizeof(kernels::QueryTile));
  return at;
}

StepShape DecodeShape(int64_t rows, int64_t context) {
  return {.tokens = rows,
          .rows = rows,
          .decoding = rows,
          .emitted = rows,
          .samples = rows,
          .context = context,
          .in_order = true};
}

StepShape LargestShape(const spec::EngineLimits& limits) {
  const int64_t tokens = std::max(limits.max_num_batched_tokens, limits.max_num_seqs);
  return {.tokens = tokens,
          .rows = tokens,
          .decoding = tokens,
          .emitted = tokens,
          .samples = limits.max_num_seqs,
          .scores = tokens,
          .tiles = tokens,
          .context = limits.max_model_len};
}

InputPacker::InputPacker(const spec::EngineLimits& limits, const SlotTable* slots)
    : limits_(limits),
      max_blocks_(CeilDiv(limits.max_model_len, limits.block_size)),
      slots_(slots) {
  rows_.reserve(static_cast<size_t>(limits.max_num_batched_tokens));
  first_of_plan_.reserve(static_cast<size_t>(limits.max_num_batched_tokens));
}

absl::StatusOr<StepShape> InputPacker::Shape(const flow::StepPlan& plan) {
  rows_.clear();
  first_of_plan_.assign(plan.rows.size(), 0);
  StepShape shape;
  for (int group = 0; group < 3; ++group) {
    for (size_t r = 0; r < plan.rows.size(); ++r) {
      const Row& row = plan.rows[r];
      if (Group(row) != group) continue;
      PAMIR_RETURN_IF_ERROR(slots_->CheckRow(row));
      if (shape.tokens + row.count > limits_.max_num_batched_tokens) {
        return absl::InternalError("plan: more tokens in a step than the limit");
      }
      first_of_plan_[r] = shape.tokens;
      rows_.push_back({&row, shape.tokens});
      shape.tokens += row.count;
      shape.context = std::max<int64_t>(shape.context, int64_t{row.from} + row.count);
      if (row.wants == RowWants::kSample) ++shape.samples;
      if (row.wants == RowWants::kPromptLogprobs) shape.scores += row.count;
      if (group == 0) continue;
      shape.tiles += CeilDiv(row.count, kernels::kTileQueries);
      shape.kv_tokens += int64_t{row.from} + row.count;
    }
    if (group == 0) shape.decoding = shape.tokens;
    if (group == 1) shape.emitted = shape.tokens;
  }
  shape.rows = static_cast<int64_t>(rows_.size());
  shape.in_order = shape.decoding == shape.tokens && shape.samples == shape.tokens;
  if (shape.samples > limits_.max_num_seqs) {
    return absl::InternalError(absl::StrCat("plan: ", shape.samples,
                                            " samples in a step, more than the ",
                                            limits_.max_num_seqs, " slots"));
  }
  return shape;
}

absl::Status InputPacker::Pack(const flow::StepPlan& plan, const StepShape& shape, bool with_ids,
                               char* to) {
  const InputOffsets at = OffsetsOf(shape, max_blocks_);
  int32_t* const positions = At<int32_t>(to, at.positions);
  int32_t* const token_row = At<int32_t>(to, at.token_row);
  int32_t* const table = At<int32_t>(to, at.block_table);
  for (size_t r = 0; r < rows_.size(); ++r) {
    const Row& row = *rows_[r].row;
    const int64_t first = rows_[r].first_token;
    if (with_ids) PAMIR_RETURN_IF_ERROR(FillIds(row, At<int32_t>(to, at.ids) + first));
    for (int32_t i = 0; i < row.count; ++i) {
      positions[first + i] = row.from + i;
      token_row[first + i] = static_cast<int32_t>(r);
    }
    const std::vector<int32_t>& blocks = slots_->at(row.slot).blocks;
    std::copy(blocks.begin(), blocks.end(), table + static_cast<int64_t>(r) * max_blocks_);
  }
  FillPicks(plan, at, to);
  PAMIR_RETURN_IF_ERROR(FillScoreIds(plan, At<int32_t>(to, at.score_ids)));
  FillTiles(shape, At<kernels::QueryTile>(to, at.tiles));
  FillPadding(shape, at, to);
  return absl::OkStatus();
}

absl::Status InputPacker::FillIds(const Row& row, int32_t* ids) const {
  const std::vector<TokenId>& known = slots_->at(row.slot).ids;
  const size_t end = static_cast<size_t>(row.from) + row.count;
  if (known.size() < end) {
    return absl::InternalError(absl::StrCat("plan: row needs ", end, " ids of slot ",
                                            row.slot.value, ", which has ", known.size()));
  }
  for (int32_t i = 0; i < row.count; ++i) {
    const size_t position = static_cast<size_t>(row.from) + i;
    ids[i] = known[position];
    if (ids[i] != kTokenOnDevice) continue;
    if (position + 1 != known.size()) {
      return absl::InternalError(absl::StrCat("plan: id ", position, " of slot ", row.slot.value,
                                              " was sampled and is no longer on the device"));
    }
    ids[i] = -1 - row.slot.value;
  }
  return absl::OkStatus();
}

// First what is sampled, then what is scored, each in the plan's order.
void InputPacker::FillPicks(const flow::StepPlan& plan, const InputOffsets& at, char* to) const {
  int32_t* pick = At<int32_t>(to, at.picks);
  int32_t* slot = At<int32_t>(to, at.sample_slots);
  kernels::SampleRow* params = At<kernels::SampleRow>(to, at.params);
  for (size_t r = 0; r < plan.rows.size(); ++r) {
    const Row& row = plan.rows[r];
    if (row.wants != RowWants::kSample) continue;
    const Slot& of = slots_->at(row.slot);
    *pick++ = static_cast<int32_t>(first_of_plan_[r] + row.count - 1);
    *slot++ = row.slot.value;
    *params++ = {.temperature = of.sampling.temperature,
                 .top_k = of.sampling.top_k,
                 .top_p = of.sampling.top_p,
                 .seed = of.sampling.seed,
                 .choice = static_cast<uint32_t>(of.choice),
                 .position = static_cast<uint64_t>(row.from) + row.count};
  }
  for (size_t r = 0; r < plan.rows.size(); ++r) {
    if (plan.rows[r].wants != RowWants::kPromptLogprobs) continue;
    for (int32_t i = 0; i < plan.rows[r].count; ++i) {
      *pick++ = static_cast<int32_t>(first_of_plan_[r] + i);
    }
  }
}

absl::Status InputPacker::FillScoreIds(const flow::StepPlan& plan, int32_t* ids) const {
  for (const Row& row : plan.rows) {
    if (row.wants != RowWants::kPromptLogprobs) continue;
    const std::vector<TokenId>& known = slots_->at(row.slot).ids;
    for (int32_t i = 0; i < row.count; ++i) {
      const size_t next = static_cast<size_t>(row.from) + i + 1;
      if (next >= known.size() || known[next] < 0 || known[next] >= limits_.text_vocab) {
        return absl::InternalError(
            absl::StrCat("plan: no id to score at position ", next, " of slot ", row.slot.value));
      }
      *ids++ = known[next];
    }
  }
  return absl::OkStatus();
}

// Those with the longest context first, so that the device's last ones are short.
void InputPacker::FillTiles(const StepShape& shape, kernels::QueryTile* tiles) const {
  struct Tile {
    kernels::QueryTile tile;
    int32_t context;
  };
  std::vector<Tile> sorted;
  sorted.reserve(static_cast<size_t>(shape.tiles));
  for (const OrderedRow& ordered : rows_) {
    if (ordered.first_token < shape.decoding) continue;
    for (int32_t done = 0; done < ordered.row->count; done += kernels::kTileQueries) {
      const int32_t count = std::min(ordered.row->count - done, kernels::kTileQueries);
      sorted.push_back({{static_cast<int32_t>(ordered.first_token) + done, count},
                        ordered.row->from + done + count});
    }
  }
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const Tile& a, const Tile& b) { return a.context > b.context; });
  for (const Tile& tile : sorted) *tiles++ = tile.tile;
}

void InputPacker::FillPadding(const StepShape& shape, const InputOffsets& at, char* to) const {
  for (int64_t r = static_cast<int64_t>(rows_.size()); r < shape.rows; ++r) {
    At<int32_t>(to, at.ids)[r] = 0;
    At<int32_t>(to, at.positions)[r] = 0;
    At<int32_t>(to, at.token_row)[r] = static_cast<int32_t>(r);
    At<int32_t>(to, at.block_table)[r * max_blocks_] = limits_.num_blocks;
    At<int32_t>(to, at.picks)[r] = static_cast<int32_t>(r);
    At<int32_t>(to, at.sample_slots)[r] = limits_.max_num_seqs;
    At<kernels::SampleRow>(to, at.params)[r] = {.temperature = 0};
  }
}

}  // namespace pamir::model
