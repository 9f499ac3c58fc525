// LoadRequest: model, shard plan and the rank's place.
#include <cmath>

#include "base/status_macros.h"
#include "cluster/wire/convert_internal.h"

namespace pamir::wire {
namespace {

constexpr int64_t kMaxModelSize = int64_t{1} << 32;  // of any one dimension
constexpr int64_t kMaxInt32 = std::numeric_limits<int32_t>::max();
constexpr int64_t kMaxThreads = 4096;
constexpr int64_t kMaxTimeoutMs = 24 * 3600 * 1000;

void ToProto(const spec::ModelSpec& model, pb::ModelSpec* out) {
  out->set_name(model.name);
  out->set_layers(model.layers);
  out->set_hidden(model.hidden);
  out->set_heads(model.heads);
  out->set_ffn(model.ffn);
  out->set_vocab(model.vocab);
  out->set_positions(model.positions);
  out->set_embed(model.embed);
  out->set_pre_norm(model.pre_norm);
  out->set_final_norm(model.final_norm);
  out->set_bias(model.bias);
  out->set_norm_affine(model.norm_affine);
  out->set_tied(model.tied);
  out->set_activation(static_cast<uint32_t>(model.activation));
  out->set_dtype(static_cast<uint32_t>(model.dtype));
  out->set_bos(model.bos);
  out->set_eos(model.eos);
  out->set_pad(model.pad);
}

absl::Status DTypeFromProto(const char* field, uint32_t value, DType* dtype) {
  PAMIR_RETURN_IF_ERROR(CheckRange(field, value, 0, static_cast<int64_t>(DType::kFloat32)));
  *dtype = static_cast<DType>(value);
  return absl::OkStatus();
}

absl::Status FromProto(const pb::ModelSpec& in, spec::ModelSpec* model) {
  const struct {
    const char* field;
    int64_t value;
    int64_t* out;
  } sizes[] = {{"model.layers", in.layers(), &model->layers},
               {"model.hidden", in.hidden(), &model->hidden},
               {"model.heads", in.heads(), &model->heads},
               {"model.ffn", in.ffn(), &model->ffn},
               {"model.vocab", in.vocab(), &model->vocab},
               {"model.positions", in.positions(), &model->positions},
               {"model.embed", in.embed(), &model->embed}};
  for (const auto& size : sizes) {
    PAMIR_RETURN_IF_ERROR(CheckRange(size.field, size.value, 1, kMaxModelSize));
    *size.out = size.value;
  }
  PAMIR_RETURN_IF_ERROR(CheckSize("model.name", in.name().size(), kMaxNameBytes));
  PAMIR_RETURN_IF_ERROR(CheckRange("model.activation", in.activation(), 0,
                                   static_cast<int64_t>(spec::Activation::kGelu)));
  PAMIR_RETURN_IF_ERROR(DTypeFromProto("model.dtype", in.dtype(), &model->dtype));
  model->name = in.name();
  model->pre_norm = in.pre_norm();
  model->final_norm = in.final_norm();
  model->bias = in.bias();
  model->norm_affine = in.norm_affine();
  model->tied = in.tied();
  model->activation = static_cast<spec::Activation>(in.activation());
  model->bos = in.bos();
  model->eos = in.eos();
  model->pad = in.pad();
  return absl::OkStatus();
}

void ToProto(Range range, pb::Span* out) {
  out->set_begin(range.begin);
  out->set_end(range.end);
}

absl::Status FromProto(const char* field, const pb::Span& in, Range* range) {
  PAMIR_RETURN_IF_ERROR(CheckRange(field, in.end(), 0, kMaxModelSize));
  PAMIR_RETURN_IF_ERROR(CheckRange(field, in.begin(), 0, in.end()));
  *range = {in.begin(), in.end()};
  return absl::OkStatus();
}

void ToProto(const spec::EngineLimits& limits, pb::EngineLimits* out) {
  out->set_block_size(limits.block_size);
  out->set_num_blocks(limits.num_blocks);
  out->set_max_num_seqs(limits.max_num_seqs);
  out->set_max_num_batched_tokens(limits.max_num_batched_tokens);
  out->set_max_model_len(limits.max_model_len);
  out->set_text_vocab(limits.text_vocab);
}

absl::Status FromProto(const pb::EngineLimits& in, spec::EngineLimits* limits) {
  const struct {
    const char* field;
    int32_t value;
    int32_t* out;
  } numbers[] = {{"limits.block_size", in.block_size(), &limits->block_size},
                 {"limits.num_blocks", in.num_blocks(), &limits->num_blocks},
                 {"limits.max_num_seqs", in.max_num_seqs(), &limits->max_num_seqs},
                 {"limits.max_num_batched_tokens", in.max_num_batched_tokens(),
                  &limits->max_num_batched_tokens},
                 {"limits.max_model_len", in.max_model_len(), &limits->max_model_len}};
  for (const auto& number : numbers) {
    PAMIR_RETURN_IF_ERROR(CheckRange(number.field, number.value, 1, kMaxInt32));
    *number.out = number.value;
  }
  PAMIR_RETURN_IF_ERROR(CheckRange("limits.text_vocab", in.text_vocab(), 0, kMaxInt32));
  limits->text_vocab = in.text_vocab();
  return absl::OkStatus();
}

void ToProto(const spec::ShardPlan& plan, pb::ShardPlan* out) {
  for (const spec::StagePlan& stage : plan.stages) {
    pb::StagePlan* one = out->add_stages();
    ToProto(stage.layers, one->mutable_layers());
    for (const spec::TensorShard& shard : stage.shards) {
      pb::TensorShard* part = one->add_shards();
      ToProto(shard.heads, part->mutable_heads());
      ToProto(shard.ffn, part->mutable_ffn());
      ToProto(shard.vocab, part->mutable_vocab());
    }
  }
  out->set_weight_dtype(static_cast<uint32_t>(plan.weight_dtype));
  out->set_kv_dtype(static_cast<uint32_t>(plan.kv_dtype));
  out->set_kv_fp8(plan.kv_fp8);
  ToProto(plan.limits, out->mutable_limits());
  out->set_device(static_cast<uint32_t>(plan.device));
  out->set_relu_skip(static_cast<uint32_t>(plan.relu_skip));
}

absl::Status FromProto(const pb::StagePlan& in, spec::StagePlan* stage) {
  PAMIR_RETURN_IF_ERROR(CheckRange("stage.shards", in.shards_size(), 1, kMaxRanks));
  PAMIR_RETURN_IF_ERROR(FromProto("stage.layers", in.layers(), &stage->layers));
  for (const pb::TensorShard& part : in.shards()) {
    spec::TensorShard& shard = stage->shards.emplace_back();
    PAMIR_RETURN_IF_ERROR(FromProto("shard.heads", part.heads(), &shard.heads));
    PAMIR_RETURN_IF_ERROR(FromProto("shard.ffn", part.ffn(), &shard.ffn));
    PAMIR_RETURN_IF_ERROR(FromProto("shard.vocab", part.vocab(), &shard.vocab));
  }
  return absl::OkStatus();
}

absl::Status FromProto(const pb::ShardPlan& in, spec::ShardPlan* plan) {
  PAMIR_RETURN_IF_ERROR(CheckRange("plan.stages", in.stages_size(), 1, kMaxRanks));
  for (const pb::StagePlan& one : in.stages()) {
    PAMIR_RETURN_IF_ERROR(FromProto(one, &plan->stages.emplace_back()));
  }
  PAMIR_RETURN_IF_ERROR(
      DTypeFromProto("plan.weight_dtype", in.weight_dtype(), &plan->weight_dtype));
  PAMIR_RETURN_IF_ERROR(DTypeFromProto("plan.kv_dtype", in.kv_dtype(), &plan->kv_dtype));
  plan->kv_fp8 = in.kv_fp8();
  PAMIR_RETURN_IF_ERROR(
      CheckRange("plan.device", in.device(), 0, static_cast<int64_t>(spec::DeviceKind::kCuda)));
  PAMIR_RETURN_IF_ERROR(
      CheckRange("plan.relu_skip", in.relu_skip(), 0, static_cast<int64_t>(spec::ReluSkip::kFull)));
  plan->device = static_cast<spec::DeviceKind>(in.device());
  plan->relu_skip = static_cast<spec::ReluSkip>(in.relu_skip());
  return FromProto(in.limits(), &plan->limits);
}

absl::Status CheckScalars(const pb::LoadRequest& in) {
  PAMIR_RETURN_IF_ERROR(CheckRange("load_format", in.load_format(), 0,
                                   static_cast<int64_t>(flow::LoadFormat::kDummy)));
  PAMIR_RETURN_IF_ERROR(CheckRange("transport", in.transport(), 0,
                                   static_cast<int64_t>(flow::RankTransport::kStaged)));
  PAMIR_RETURN_IF_ERROR(CheckRange("threads", in.threads(), 0, kMaxThreads));
  PAMIR_RETURN_IF_ERROR(CheckRange("comm_timeout_ms", in.comm_timeout_ms(), 1, kMaxTimeoutMs));
  PAMIR_RETURN_IF_ERROR(CheckSize("model_directory", in.model_directory().size(), kMaxPathBytes));
  if (!(in.dummy_relu_density() >= 0 && in.dummy_relu_density() <= 1)) {
    return Malformed(absl::StrCat("dummy_relu_density is ", in.dummy_relu_density()));
  }
  return absl::OkStatus();
}

}  // namespace

void ToProto(const flow::LoadRequest& request, pb::LoadRequest* out) {
  out->set_epoch(request.epoch.value);
  out->set_rank(request.rank);
  out->set_ranks_on_host(request.ranks_on_host);
  out->set_threads(request.threads);
  out->set_model_directory(request.model_directory);
  out->set_load_format(static_cast<uint32_t>(request.format));
  out->set_dummy_seed(request.dummy_seed);
  out->set_dummy_relu_density(request.dummy_relu_density);
  ToProto(request.model, out->mutable_model());
  ToProto(request.plan, out->mutable_plan());
  out->set_transport(static_cast<uint32_t>(request.transport));
  out->set_comm_timeout_ms(absl::ToInt64Milliseconds(request.comm_timeout));
}

absl::Status FromProto(const pb::LoadRequest& in, flow::LoadRequest* request) {
  PAMIR_RETURN_IF_ERROR(CheckScalars(in));
  PAMIR_RETURN_IF_ERROR(FromProto(in.model(), &request->model));
  PAMIR_RETURN_IF_ERROR(FromProto(in.plan(), &request->plan));
  PAMIR_RETURN_IF_ERROR(spec::CheckShardPlan(request->model, request->plan));
  const int ranks = request->plan.ranks();
  PAMIR_RETURN_IF_ERROR(CheckRange("rank", in.rank(), 0, ranks - 1));
  PAMIR_RETURN_IF_ERROR(CheckRange("ranks_on_host", in.ranks_on_host(), 1, ranks));
  request->epoch = Epoch(in.epoch());
  request->rank = in.rank();
  request->ranks_on_host = in.ranks_on_host();
  request->threads = in.threads();
  request->model_directory = in.model_directory();
  request->format = static_cast<flow::LoadFormat>(in.load_format());
  request->dummy_seed = in.dummy_seed();
  request->dummy_relu_density = in.dummy_relu_density();
  request->transport = static_cast<flow::RankTransport>(in.transport());
  request->comm_timeout = absl::Milliseconds(in.comm_timeout_ms());
  return absl::OkStatus();
}

}  // namespace pamir::wire
