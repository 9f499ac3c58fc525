// StepPlan and StepResult. Numbers that are never negative travel as uint32: a negative one becomes
// larger than any int32 and is refused on the other side.
#include <cmath>
#include <initializer_list>

#include "base/status_macros.h"
#include "cluster/wire/convert_internal.h"

namespace pamir::wire {
namespace {

using Column = google::protobuf::RepeatedField<uint32_t>;

constexpr uint32_t kMaxInt32 = std::numeric_limits<int32_t>::max();
constexpr uint32_t kWantsFactor = 4;  // row_mode = kind + 4 * wants

uint32_t Unsigned(int32_t value) { return static_cast<uint32_t>(value); }

// The named columns have the same length, at most kMaxRows, and hold what fits an int32.
absl::Status CheckColumns(const char* group, std::initializer_list<const Column*> columns) {
  const int size = (*columns.begin())->size();
  PAMIR_RETURN_IF_ERROR(CheckSize(group, size, kMaxRows));
  for (const Column* column : columns) {
    if (column->size() != size) {
      return Malformed(
          absl::StrCat(group, ": columns of ", size, " and ", column->size(), " entries"));
    }
    for (const uint32_t value : *column) {
      if (value > kMaxInt32) return Malformed(absl::StrCat(group, ": ", value, " is no int32"));
    }
  }
  return absl::OkStatus();
}

void ToProto(const flow::Admission& admission, pb::Admission* out) {
  out->set_slot(Unsigned(admission.slot.value));
  out->mutable_ids()->Add(admission.ids.begin(), admission.ids.end());
  out->set_prompt_length(Unsigned(admission.prompt_length));
  out->set_choice(Unsigned(admission.choice));
  out->set_temperature(admission.sampling.temperature);
  out->set_top_k(Unsigned(admission.sampling.top_k));
  out->set_top_p(admission.sampling.top_p);
  out->set_seed(admission.sampling.seed);
  out->mutable_blocks()->Reserve(static_cast<int>(admission.blocks.size()));
  for (const BlockId block : admission.blocks) out->add_blocks(Unsigned(block.value));
}

absl::Status CheckList(const char* field, const Column& values, size_t limit) {
  PAMIR_RETURN_IF_ERROR(CheckSize(field, values.size(), limit));
  for (const uint32_t value : values) {
    if (value > kMaxInt32) return Malformed(absl::StrCat(field, ": ", value, " is no int32"));
  }
  return absl::OkStatus();
}

absl::Status FromProto(const pb::Admission& in, flow::Admission* admission) {
  PAMIR_RETURN_IF_ERROR(CheckList("admission.ids", in.ids(), kMaxIdsPerAdmission));
  PAMIR_RETURN_IF_ERROR(CheckList("admission.blocks", in.blocks(), kMaxBlocksPerAdmission));
  PAMIR_RETURN_IF_ERROR(CheckRange("admission.slot", in.slot(), 0, kMaxInt32));
  PAMIR_RETURN_IF_ERROR(
      CheckRange("admission.prompt_length", in.prompt_length(), 1, in.ids_size()));
  PAMIR_RETURN_IF_ERROR(CheckRange("admission.choice", in.choice(), 0, kMaxInt32));
  PAMIR_RETURN_IF_ERROR(CheckRange("admission.top_k", in.top_k(), 0, kMaxInt32));
  if (!std::isfinite(in.temperature()) || in.temperature() < 0) {
    return Malformed(absl::StrCat("admission.temperature is ", in.temperature()));
  }
  if (!(in.top_p() > 0 && in.top_p() <= 1)) {
    return Malformed(absl::StrCat("admission.top_p is ", in.top_p()));
  }
  admission->slot = SlotId(static_cast<int32_t>(in.slot()));
  admission->ids.assign(in.ids().begin(), in.ids().end());
  admission->prompt_length = static_cast<int32_t>(in.prompt_length());
  admission->choice = static_cast<int32_t>(in.choice());
  admission->sampling = {.temperature = in.temperature(),
                         .top_k = static_cast<int32_t>(in.top_k()),
                         .top_p = in.top_p(),
                         .seed = in.seed()};
  admission->blocks.reserve(in.blocks_size());
  for (const uint32_t block : in.blocks()) {
    admission->blocks.emplace_back(static_cast<int32_t>(block));
  }
  return absl::OkStatus();
}

void RowsToProto(const std::vector<flow::Row>& rows, pb::StepPlan* out) {
  const int size = static_cast<int>(rows.size());
  for (Column* column : {out->mutable_row_slot(), out->mutable_row_from(), out->mutable_row_count(),
                         out->mutable_row_mode()}) {
    column->Reserve(size);
  }
  for (const flow::Row& row : rows) {
    out->add_row_slot(Unsigned(row.slot.value));
    out->add_row_from(Unsigned(row.from));
    out->add_row_count(Unsigned(row.count));
    out->add_row_mode(static_cast<uint32_t>(row.kind) +
                      kWantsFactor * static_cast<uint32_t>(row.wants));
  }
}

absl::Status RowFromProto(const pb::StepPlan& in, int i, flow::Row* row) {
  const uint32_t kind = in.row_mode(i) % kWantsFactor, wants = in.row_mode(i) / kWantsFactor;
  if (kind > static_cast<uint32_t>(flow::RowKind::kEmitted) ||
      wants > static_cast<uint32_t>(flow::RowWants::kPromptLogprobs)) {
    return Malformed(absl::StrCat("row ", i, ": mode ", in.row_mode(i)));
  }
  PAMIR_RETURN_IF_ERROR(CheckRange("row.count", in.row_count(i), 1, kMaxInt32));
  PAMIR_RETURN_IF_ERROR(
      CheckRange("row.from + count", int64_t{in.row_from(i)} + in.row_count(i), 1, kMaxInt32));
  *row = {.slot = SlotId(static_cast<int32_t>(in.row_slot(i))),
          .from = static_cast<int32_t>(in.row_from(i)),
          .count = static_cast<int32_t>(in.row_count(i)),
          .kind = static_cast<flow::RowKind>(kind),
          .wants = static_cast<flow::RowWants>(wants)};
  return absl::OkStatus();
}

absl::Status CheckGroups(const pb::StepPlan& in) {
  PAMIR_RETURN_IF_ERROR(CheckColumns("releases", {&in.releases()}));
  PAMIR_RETURN_IF_ERROR(CheckColumns("forced tokens", {&in.forced_slot(), &in.forced_token()}));
  PAMIR_RETURN_IF_ERROR(
      CheckColumns("appended blocks", {&in.appended_slot(), &in.appended_block()}));
  PAMIR_RETURN_IF_ERROR(CheckColumns("forks", {&in.fork_from(), &in.fork_to(), &in.fork_choice()}));
  PAMIR_RETURN_IF_ERROR(CheckColumns("block copies", {&in.copy_from(), &in.copy_to()}));
  PAMIR_RETURN_IF_ERROR(CheckSize("admissions", in.admissions_size(), kMaxRows));
  PAMIR_RETURN_IF_ERROR(CheckRange("micro_batch", in.micro_batch(), 0, kMaxRows));
  return CheckColumns("rows", {&in.row_slot(), &in.row_from(), &in.row_count(), &in.row_mode()});
}

// After CheckGroups: every value fits.
void ChangesFromProto(const pb::StepPlan& in, flow::StepPlan* plan) {
  const auto int32 = [](uint32_t value) { return static_cast<int32_t>(value); };
  for (const uint32_t slot : in.releases()) plan->releases.emplace_back(int32(slot));
  for (int i = 0; i < in.forced_slot_size(); ++i) {
    plan->forced_tokens.push_back({SlotId(int32(in.forced_slot(i))), int32(in.forced_token(i))});
  }
  for (int i = 0; i < in.appended_slot_size(); ++i) {
    plan->appended_blocks.push_back(
        {SlotId(int32(in.appended_slot(i))), BlockId(int32(in.appended_block(i)))});
  }
  for (int i = 0; i < in.fork_from_size(); ++i) {
    plan->forks.push_back(
        {SlotId(int32(in.fork_from(i))), SlotId(int32(in.fork_to(i))), int32(in.fork_choice(i))});
  }
  for (int i = 0; i < in.copy_from_size(); ++i) {
    plan->block_copies.push_back({BlockId(int32(in.copy_from(i))), BlockId(int32(in.copy_to(i)))});
  }
}

}  // namespace

void ToProto(const flow::StepPlan& plan, pb::StepPlan* out) {
  out->set_epoch(plan.epoch.value);
  out->set_step(plan.step.value);
  out->set_micro_batch(Unsigned(plan.micro_batch));
  for (const SlotId slot : plan.releases) out->add_releases(Unsigned(slot.value));
  for (const flow::Admission& admission : plan.admissions) {
    ToProto(admission, out->add_admissions());
  }
  for (const flow::ForcedToken& forced : plan.forced_tokens) {
    out->add_forced_slot(Unsigned(forced.slot.value));
    out->add_forced_token(Unsigned(forced.token));
  }
  for (const flow::AppendedBlock& appended : plan.appended_blocks) {
    out->add_appended_slot(Unsigned(appended.slot.value));
    out->add_appended_block(Unsigned(appended.block.value));
  }
  for (const flow::Fork& fork : plan.forks) {
    out->add_fork_from(Unsigned(fork.from.value));
    out->add_fork_to(Unsigned(fork.to.value));
    out->add_fork_choice(Unsigned(fork.choice));
  }
  for (const flow::BlockCopy& copy : plan.block_copies) {
    out->add_copy_from(Unsigned(copy.from.value));
    out->add_copy_to(Unsigned(copy.to.value));
  }
  RowsToProto(plan.rows, out);
}

absl::Status FromProto(const pb::StepPlan& in, flow::StepPlan* plan) {
  PAMIR_RETURN_IF_ERROR(CheckGroups(in));
  plan->epoch = Epoch(in.epoch());
  plan->step = StepId(in.step());
  plan->micro_batch = static_cast<int32_t>(in.micro_batch());
  ChangesFromProto(in, plan);
  plan->admissions.resize(in.admissions_size());
  for (int i = 0; i < in.admissions_size(); ++i) {
    PAMIR_RETURN_IF_ERROR(FromProto(in.admissions(i), &plan->admissions[i]));
  }
  plan->rows.resize(in.row_slot_size());
  for (int i = 0; i < in.row_slot_size(); ++i) {
    PAMIR_RETURN_IF_ERROR(RowFromProto(in, i, &plan->rows[i]));
  }
  return absl::OkStatus();
}

void ToProto(const flow::StepResult& result, pb::StepResult* out) {
  out->set_epoch(result.epoch.value);
  out->set_step(result.step.value);
  out->set_engine_us(result.engine_us);
  for (const flow::SampledToken& sampled : result.sampled) {
    out->add_slot(Unsigned(sampled.slot.value));
    out->add_token(Unsigned(sampled.token));
    out->add_flags(sampled.flags);
    out->add_logprob(sampled.logprob);
  }
  for (const flow::PromptLogprobs& scored : result.prompt_logprobs) {
    pb::PromptLogprobs* one = out->add_prompt_logprobs();
    one->set_slot(Unsigned(scored.slot.value));
    one->set_from(Unsigned(scored.from));
    one->mutable_logprobs()->Add(scored.logprobs.begin(), scored.logprobs.end());
  }
}

absl::Status FromProto(const pb::StepResult& in, flow::StepResult* result) {
  PAMIR_RETURN_IF_ERROR(CheckColumns("sampled", {&in.slot(), &in.token()}));
  if (in.flags_size() != in.slot_size() || in.logprob_size() != in.slot_size()) {
    return Malformed("sampled: columns of different lengths");
  }
  PAMIR_RETURN_IF_ERROR(CheckSize("prompt_logprobs", in.prompt_logprobs_size(), kMaxRows));
  result->epoch = Epoch(in.epoch());
  result->step = StepId(in.step());
  result->engine_us = in.engine_us();
  for (int i = 0; i < in.slot_size(); ++i) {
    result->sampled.push_back({SlotId(static_cast<int32_t>(in.slot(i))),
                               static_cast<TokenId>(in.token(i)), in.flags(i), in.logprob(i)});
  }
  for (const pb::PromptLogprobs& one : in.prompt_logprobs()) {
    PAMIR_RETURN_IF_ERROR(CheckRange("prompt_logprobs.slot", one.slot(), 0, kMaxInt32));
    PAMIR_RETURN_IF_ERROR(CheckSize("logprobs", one.logprobs_size(), kMaxIdsPerAdmission));
    PAMIR_RETURN_IF_ERROR(CheckRange("prompt_logprobs.from", one.from(), 0,
                                     int64_t{kMaxInt32} - one.logprobs_size()));
    result->prompt_logprobs.push_back({SlotId(static_cast<int32_t>(one.slot())),
                                       static_cast<int32_t>(one.from()),
                                       {one.logprobs().begin(), one.logprobs().end()}});
  }
  return absl::OkStatus();
}

}  // namespace pamir::wire
