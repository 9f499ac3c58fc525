#include "support/fake_rank.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace pamir::testing {
namespace {

uint64_t Mix(uint64_t h, uint64_t value) {  // splitmix64's finisher
  h += value + 0x9E3779B97F4A7C15u;
  h = (h ^ (h >> 30)) * 0xBF58476D1CE4E5B9u;
  h = (h ^ (h >> 27)) * 0x94D049BB133111EBu;
  return h ^ (h >> 31);
}

uint64_t Hash(std::span<const TokenId> ids) {
  uint64_t h = 1;
  for (const TokenId id : ids) h = Mix(h, static_cast<uint64_t>(id));
  return h;
}

template <typename... Parts>
absl::Status Broken(const Parts&... parts) {
  return absl::InternalError(absl::StrCat("fake rank: ", parts...));
}

}  // namespace

TokenId FakeToken(std::span<const TokenId> ids, uint64_t seed, int32_t vocab_size) {
  return static_cast<TokenId>(Mix(Hash(ids), seed) % static_cast<uint64_t>(vocab_size));
}

float FakeLogprob(std::span<const TokenId> ids, TokenId token) {
  return -static_cast<float>(Mix(Hash(ids), static_cast<uint64_t>(token) + 1) % 4096) / 256.0f;
}

std::vector<TokenId> FakeStream(std::vector<TokenId> prompt, uint64_t seed, int32_t vocab_size,
                                int32_t count) {
  std::vector<TokenId> stream;
  for (int32_t i = 0; i < count; ++i) {
    stream.push_back(FakeToken(prompt, seed, vocab_size));
    prompt.push_back(stream.back());
  }
  return stream;
}

FakeRank::FakeRank(const FakeRankOptions& options)
    : options_(options),
      slots_(options.max_num_seqs),
      owner_(options.num_blocks, -1),
      cache_(static_cast<size_t>(options.num_blocks) * options.block_size, -1) {}

absl::StatusOr<flow::StepResult> FakeRank::Step(const flow::StepPlan& plan) {
  PAMIR_RETURN_IF_ERROR(dead_);
  flow::StepResult result;
  result.epoch = plan.epoch;
  result.step = plan.step;
  dead_ = Run(plan, &result);
  PAMIR_RETURN_IF_ERROR(dead_);
  ++steps_;
  return result;
}

absl::Status FakeRank::Run(const flow::StepPlan& plan, flow::StepResult* result) {
  PAMIR_RETURN_IF_ERROR(CheckOrder(plan));
  PAMIR_RETURN_IF_ERROR(Change(plan));
  for (auto& slot : slots_) {
    if (slot) slot->in_step = false;
  }
  int64_t tokens = 0;
  for (const flow::Row& row : plan.rows) {
    PAMIR_RETURN_IF_ERROR(CheckRow(row));
    At(row.slot).in_step = true;
    tokens += row.count;
  }
  if (tokens > options_.max_num_batched_tokens) {
    return Broken("a step of ", tokens, " tokens; at most ", options_.max_num_batched_tokens);
  }
  for (const flow::Row& row : plan.rows) PAMIR_RETURN_IF_ERROR(Compute(row, result));
  return absl::OkStatus();
}

absl::Status FakeRank::CheckOrder(const flow::StepPlan& plan) {
  if (plan.epoch > epoch_) {
    slots_.assign(slots_.size(), std::nullopt);
    owner_.assign(owner_.size(), -1);
    epoch_ = plan.epoch;
    step_ = StepId(0);
  }
  if (plan.epoch != epoch_ || plan.step.value != step_.value + 1) {
    return Broken("step ", plan.step.value, " of epoch ", plan.epoch.value, " behind step ",
                  step_.value, " of epoch ", epoch_.value);
  }
  if (plan.micro_batch != 0 || !plan.forks.empty() || !plan.block_copies.empty()) {
    return Broken("forks, block copies and micro-batches are not known here");
  }
  step_ = plan.step;
  return absl::OkStatus();
}

absl::Status FakeRank::Change(const flow::StepPlan& plan) {
  for (const SlotId slot : plan.releases) PAMIR_RETURN_IF_ERROR(Release(slot));
  for (const flow::Admission& a : plan.admissions) PAMIR_RETURN_IF_ERROR(Admit(a));
  for (const flow::ForcedToken& f : plan.forced_tokens) {
    if (!Live(f.slot)) return Broken("a forced token for empty slot ", f.slot.value);
    At(f.slot).ids.push_back(f.token);
  }
  for (const flow::AppendedBlock& a : plan.appended_blocks) {
    if (!Live(a.slot)) return Broken("a block for empty slot ", a.slot.value);
    PAMIR_RETURN_IF_ERROR(Own(a.slot, a.block));
  }
  return absl::OkStatus();
}

absl::Status FakeRank::Release(SlotId id) {
  if (!Live(id)) return Broken("release of empty slot ", id.value);
  for (const BlockId block : At(id).blocks) {
    owner_[block.value] = -1;
    // What was there must never be read again.
    std::fill_n(cache_.begin() + int64_t{block.value} * options_.block_size, options_.block_size,
                -1);
  }
  slots_[id.value].reset();
  return absl::OkStatus();
}

absl::Status FakeRank::Admit(const flow::Admission& a) {
  const int32_t length = static_cast<int32_t>(a.ids.size());
  if (a.slot.value < 0 || a.slot.value >= options_.max_num_seqs || Live(a.slot)) {
    return Broken("admission to slot ", a.slot.value, ", which is taken or does not exist");
  }
  if (a.prompt_length < 1 || a.prompt_length > length) {
    return Broken("slot ", a.slot.value, ": a prompt of ", a.prompt_length, " in ", length, " ids");
  }
  slots_[a.slot.value] =
      Slot{.ids = a.ids, .prompt_length = a.prompt_length, .sampling = a.sampling};
  for (const BlockId block : a.blocks) PAMIR_RETURN_IF_ERROR(Own(a.slot, block));
  return absl::OkStatus();
}

absl::Status FakeRank::Own(SlotId id, BlockId block) {
  if (block.value < 0 || block.value >= options_.num_blocks) {
    return Broken("block ", block.value, " of ", options_.num_blocks);
  }
  if (owner_[block.value] >= 0) {
    return Broken("block ", block.value, " given to slot ", id.value, " belongs to slot ",
                  owner_[block.value]);
  }
  owner_[block.value] = id.value;
  At(id).blocks.push_back(block);
  return absl::OkStatus();
}

absl::Status FakeRank::CheckRow(const flow::Row& row) const {
  if (!Live(row.slot)) return Broken("a row of empty slot ", row.slot.value);
  const Slot& slot = *slots_[row.slot.value];
  const int32_t end = row.from + row.count, length = static_cast<int32_t>(slot.ids.size());
  const std::string where =
      absl::StrCat("slot ", row.slot.value, ", row of ", row.count, " from ", row.from, ": ");
  if (slot.in_step) return Broken(where, "the slot has a row in this step already");
  if (row.count < 1) return Broken(where, "empty");
  if (row.from != slot.computed) return Broken(where, slot.computed, " positions are computed");
  if (end > length) return Broken(where, "only ", length, " ids are known");
  if (end > static_cast<int64_t>(slot.blocks.size()) * options_.block_size) {
    return Broken(where, slot.blocks.size(), " blocks do not cover it");
  }
  if (row.kind == flow::RowKind::kPrompt ? end > slot.prompt_length
                                         : row.from < slot.prompt_length) {
    return Broken(where, "the kind is wrong: the prompt has ", slot.prompt_length);
  }
  if (row.wants == flow::RowWants::kSample && end != length) {
    return Broken(where, "a sample is wanted, but ", length, " ids are known");
  }
  if (row.wants == flow::RowWants::kPromptLogprobs && end > slot.prompt_length - 1) {
    return Broken(where, "scores wanted behind a prompt of ", slot.prompt_length);
  }
  return absl::OkStatus();
}

absl::Status FakeRank::Compute(const flow::Row& row, flow::StepResult* result) {
  Slot& slot = At(row.slot);
  for (int32_t p = row.from; p < row.from + row.count; ++p) CacheAt(slot, p) = slot.ids[p];
  slot.computed = row.from + row.count;
  const std::vector<TokenId> read = ReadCache(slot);
  if (!std::equal(read.begin(), read.end(), slot.ids.begin())) {
    return Broken("slot ", row.slot.value, ": its cache holds another sequence's positions");
  }
  const std::span<const TokenId> all(read);
  if (row.wants == flow::RowWants::kSample) {
    const TokenId token = FakeToken(all, slot.sampling.seed, options_.vocab_size);
    result->sampled.push_back(
        {.slot = row.slot, .token = token, .logprob = FakeLogprob(all, token)});
    slot.ids.push_back(token);
  } else if (row.wants == flow::RowWants::kPromptLogprobs) {
    flow::PromptLogprobs scored{.slot = row.slot, .from = row.from};
    for (int32_t p = row.from; p < slot.computed; ++p) {
      scored.logprobs.push_back(FakeLogprob(all.first(p + 1), slot.ids[p + 1]));
    }
    result->prompt_logprobs.push_back(std::move(scored));
  }
  return absl::OkStatus();
}

std::vector<TokenId> FakeRank::ReadCache(const Slot& slot) const {
  std::vector<TokenId> read;
  read.reserve(slot.computed + 1);
  for (int32_t p = 0; p < slot.computed; ++p) {
    const int64_t block = slot.blocks[p / options_.block_size].value;
    read.push_back(cache_[block * options_.block_size + p % options_.block_size]);
  }
  return read;
}

TokenId& FakeRank::CacheAt(const Slot& slot, int32_t position) {
  const int64_t block = slot.blocks[position / options_.block_size].value;
  return cache_[block * options_.block_size + position % options_.block_size];
}

bool FakeRank::Live(SlotId id) const {
  return id.value >= 0 && id.value < options_.max_num_seqs && slots_[id.value].has_value();
}

int32_t FakeRank::live_slots() const {
  return static_cast<int32_t>(
      std::count_if(slots_.begin(), slots_.end(), [](const auto& s) { return s.has_value(); }));
}

int32_t FakeRank::owned_blocks() const {
  return static_cast<int32_t>(
      std::count_if(owner_.begin(), owner_.end(), [](int32_t o) { return o >= 0; }));
}

}  // namespace pamir::testing
