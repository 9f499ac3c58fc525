#include "cluster/wire/convert.h"

#include <type_traits>
#include <utility>

#include "base/status_macros.h"
#include "cluster/wire/convert_internal.h"
#include "pamir/internal/v1/control.pb.h"

namespace pamir::wire {
namespace {

// Names and reasons end up in logs and in answers to clients, which must be UTF-8: bytes beyond
// ASCII become '?'. Both sides do it, since neither trusts the other.
std::string Clean(const std::string& text, size_t limit) {
  std::string out = text.substr(0, limit);
  for (char& c : out) {
    if (static_cast<unsigned char>(c) >= 0x80) c = '?';
  }
  return out;
}

// ---- worker -> coordinator ----

void Put(const Join& join, pb::FromWorker* out) {
  pb::Join* to = out->mutable_join();
  to->set_protocol_version(join.protocol_version);
  to->set_build_id(Clean(join.build_id, kMaxNameBytes));
  to->set_host_name(Clean(join.host_name, kMaxNameBytes));
  to->set_device(Clean(join.device, kMaxNameBytes));
  to->set_pid(join.pid);
  to->set_cores(join.cores);
  to->set_token(join.token);
  to->set_memory_bytes(join.memory_bytes);
}

void Put(const ExchangeBlob& blob, pb::FromWorker* out) {
  pb::ExchangeBlob* to = out->mutable_exchange();
  to->set_epoch(blob.epoch.value);
  to->set_round(blob.round);
  to->set_blob(blob.blob);
}

void Put(const LoadProgress& progress, pb::FromWorker* out) {
  pb::LoadProgress* to = out->mutable_progress();
  to->set_epoch(progress.epoch.value);
  to->set_done(progress.done);
  to->set_total(progress.total);
}

void Put(const Ready& ready, pb::FromWorker* out) {
  pb::Ready* to = out->mutable_ready();
  to->set_epoch(ready.epoch.value);
  to->set_weight_bytes(ready.weight_bytes);
  to->set_kv_bytes(ready.kv_bytes);
  to->set_transport(Clean(ready.transport, kMaxNameBytes));
}

void Put(const flow::StepResult& result, pb::FromWorker* out) {
  ToProto(result, out->mutable_step_result());
}

void Put(const Heartbeat& beat, pb::FromWorker* out) {
  out->mutable_heartbeat()->set_beats(beat.beats);
  out->mutable_heartbeat()->set_steps(beat.steps);
}

void Put(const Failed& failed, pb::FromWorker* out) {
  pb::Failed* to = out->mutable_failed();
  to->set_epoch(failed.epoch.value);
  to->set_code(static_cast<int32_t>(failed.status.code()));
  const auto message = failed.status.message();
  to->set_message(Clean(std::string(message.data(), message.size()), kMaxReasonBytes));
}

void Put(const Drained&, pb::FromWorker* out) { out->mutable_drained(); }

absl::Status Get(const pb::Join& in, FromWorker* out) {
  for (const std::string* name : {&in.build_id(), &in.host_name(), &in.device(), &in.token()}) {
    PAMIR_RETURN_IF_ERROR(CheckSize("join", name->size(), kMaxNameBytes));
  }
  PAMIR_RETURN_IF_ERROR(CheckRange("join.cores", in.cores(), 0, 1 << 20));
  *out = Join{.protocol_version = in.protocol_version(),
              .build_id = Clean(in.build_id(), kMaxNameBytes),
              .host_name = Clean(in.host_name(), kMaxNameBytes),
              .device = Clean(in.device(), kMaxNameBytes),
              .pid = in.pid(),
              .cores = in.cores(),
              .token = in.token(),
              .memory_bytes = in.memory_bytes()};
  return absl::OkStatus();
}

absl::Status Get(const pb::ExchangeBlob& in, FromWorker* out) {
  PAMIR_RETURN_IF_ERROR(CheckSize("exchange.blob", in.blob().size(), kMaxExchangeBytes));
  PAMIR_RETURN_IF_ERROR(CheckRange("exchange.round", in.round(), 0, kMaxExchangeRounds - 1));
  *out = ExchangeBlob{Epoch(in.epoch()), in.round(), in.blob()};
  return absl::OkStatus();
}

absl::Status Get(const pb::LoadProgress& in, FromWorker* out) {
  PAMIR_RETURN_IF_ERROR(CheckRange("progress.total", in.total(), 0, int64_t{1} << 60));
  PAMIR_RETURN_IF_ERROR(CheckRange("progress.done", in.done(), 0, in.total()));
  *out = LoadProgress{Epoch(in.epoch()), in.done(), in.total()};
  return absl::OkStatus();
}

absl::Status Get(const pb::Ready& in, FromWorker* out) {
  PAMIR_RETURN_IF_ERROR(CheckSize("ready.transport", in.transport().size(), kMaxNameBytes));
  *out = Ready{Epoch(in.epoch()), in.weight_bytes(), in.kv_bytes(),
               Clean(in.transport(), kMaxNameBytes)};
  return absl::OkStatus();
}

absl::Status Get(const pb::Failed& in, FromWorker* out) {
  PAMIR_RETURN_IF_ERROR(CheckRange("failed.code", in.code(), 1, 16));
  PAMIR_RETURN_IF_ERROR(CheckSize("failed.message", in.message().size(), kMaxReasonBytes));
  *out = Failed{Epoch(in.epoch()), absl::Status(static_cast<absl::StatusCode>(in.code()),
                                                Clean(in.message(), kMaxReasonBytes))};
  return absl::OkStatus();
}

// ---- coordinator -> worker ----

void Put(const Welcome& welcome, pb::ToWorker* out) {
  pb::Welcome* to = out->mutable_welcome();
  to->set_epoch(welcome.epoch.value);
  to->set_rank(welcome.rank);
  to->set_world_size(welcome.world_size);
}

void Put(const Load& load, pb::ToWorker* out) {
  ToProto(load.request, out->mutable_load()->mutable_request());
}

void Put(const Exchanged& exchanged, pb::ToWorker* out) {
  pb::Exchanged* to = out->mutable_exchanged();
  to->set_epoch(exchanged.epoch.value);
  to->set_round(exchanged.round);
  for (const std::string& blob : exchanged.blobs) to->add_blobs(blob);
}

void Put(const flow::StepPlan& plan, pb::ToWorker* out) { ToProto(plan, out->mutable_step()); }

void Put(const Abort& abort, pb::ToWorker* out) {
  out->mutable_abort()->set_epoch(abort.epoch.value);
  out->mutable_abort()->set_reason(Clean(abort.reason, kMaxReasonBytes));
}

void Put(const Drain&, pb::ToWorker* out) { out->mutable_drain(); }

void Put(const Shutdown& shutdown, pb::ToWorker* out) {
  out->mutable_shutdown()->set_clean(shutdown.clean);
  out->mutable_shutdown()->set_reason(Clean(shutdown.reason, kMaxReasonBytes));
}

absl::Status Get(const pb::Welcome& in, ToWorker* out) {
  PAMIR_RETURN_IF_ERROR(CheckRange("welcome.world_size", in.world_size(), 1, kMaxRanks));
  PAMIR_RETURN_IF_ERROR(CheckRange("welcome.rank", in.rank(), 0, in.world_size() - 1));
  *out = Welcome{Epoch(in.epoch()), in.rank(), in.world_size()};
  return absl::OkStatus();
}

absl::Status Get(const pb::Exchanged& in, ToWorker* out) {
  PAMIR_RETURN_IF_ERROR(CheckSize("exchanged.blobs", in.blobs_size(), kMaxRanks));
  PAMIR_RETURN_IF_ERROR(CheckRange("exchanged.round", in.round(), 0, kMaxExchangeRounds - 1));
  *out = Exchanged{Epoch(in.epoch()), in.round(), {in.blobs().begin(), in.blobs().end()}};
  return absl::OkStatus();
}

template <typename Message>
Frame Serialise(const Message& message) {
  auto bytes = std::make_shared<std::string>();
  message.SerializeToString(bytes.get());
  return bytes;
}

template <typename Proto>
absl::Status Parse(std::string_view bytes, Proto* proto) {
  PAMIR_RETURN_IF_ERROR(CheckSize("message", bytes.size(), kMaxFrameBytes));
  if (proto->ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return absl::OkStatus();
  return Malformed(absl::StrCat(bytes.size(), " bytes that are no message of this protocol"));
}

}  // namespace

Frame Encode(const FromWorker& message) {
  pb::FromWorker proto;
  std::visit([&](const auto& body) { Put(body, &proto); }, message);
  return Serialise(proto);
}

Frame Encode(const ToWorker& message) {
  pb::ToWorker proto;
  std::visit([&](const auto& body) { Put(body, &proto); }, message);
  return Serialise(proto);
}

absl::StatusOr<FromWorker> DecodeFromWorker(std::string_view bytes) {
  pb::FromWorker in;
  PAMIR_RETURN_IF_ERROR(Parse(bytes, &in));
  FromWorker out;
  absl::Status status;
  switch (in.body_case()) {
    case pb::FromWorker::kJoin:
      status = Get(in.join(), &out);
      break;
    case pb::FromWorker::kExchange:
      status = Get(in.exchange(), &out);
      break;
    case pb::FromWorker::kProgress:
      status = Get(in.progress(), &out);
      break;
    case pb::FromWorker::kReady:
      status = Get(in.ready(), &out);
      break;
    case pb::FromWorker::kStepResult:
      status = FromProto(in.step_result(), &out.emplace<flow::StepResult>());
      break;
    case pb::FromWorker::kHeartbeat:
      out = Heartbeat{in.heartbeat().beats(), in.heartbeat().steps()};
      break;
    case pb::FromWorker::kFailed:
      status = Get(in.failed(), &out);
      break;
    case pb::FromWorker::kDrained:
      out = Drained{};
      break;
    case pb::FromWorker::BODY_NOT_SET:
      status = Malformed("no body");
      break;
  }
  if (!status.ok()) return status;
  return out;
}

absl::StatusOr<ToWorker> DecodeToWorker(std::string_view bytes) {
  pb::ToWorker in;
  PAMIR_RETURN_IF_ERROR(Parse(bytes, &in));
  ToWorker out;
  absl::Status status;
  switch (in.body_case()) {
    case pb::ToWorker::kWelcome:
      status = Get(in.welcome(), &out);
      break;
    case pb::ToWorker::kLoad:
      status = FromProto(in.load().request(), &out.emplace<Load>().request);
      break;
    case pb::ToWorker::kExchanged:
      status = Get(in.exchanged(), &out);
      break;
    case pb::ToWorker::kStep:
      status = FromProto(in.step(), &out.emplace<flow::StepPlan>());
      break;
    case pb::ToWorker::kAbort:
      out = Abort{Epoch(in.abort().epoch()), Clean(in.abort().reason(), kMaxReasonBytes)};
      break;
    case pb::ToWorker::kDrain:
      out = Drain{};
      break;
    case pb::ToWorker::kShutdown:
      out = Shutdown{in.shutdown().clean(), Clean(in.shutdown().reason(), kMaxReasonBytes)};
      break;
    case pb::ToWorker::BODY_NOT_SET:
      status = Malformed("no body");
      break;
  }
  if (!status.ok()) return status;
  return out;
}

}  // namespace pamir::wire
