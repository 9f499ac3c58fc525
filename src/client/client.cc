#include "pamir/client.h"

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>

#include <optional>
#include <utility>

#include "base/utf8.h"
#include "client/convert.h"
#include "pamir/limits.h"
#include "pamir/v1/cluster.grpc.pb.h"
#include "pamir/v1/generation.grpc.pb.h"

namespace pamir {
namespace {

// Canonical names of gRPC's status codes, by number.
constexpr const char* kCodeNames[] = {
    "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
    "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED"};

ClientError ToError(const grpc::Status& status) {
  if (status.ok()) return {};
  const auto code = static_cast<size_t>(status.error_code());
  return {code < std::size(kCodeNames) ? kCodeNames[code] : "UNKNOWN", status.error_message()};
}

// protobuf would send such a text all the same, and the server refuse a message that it cannot
// read.
ClientError CheckUtf8(const char* field, const std::string& text) {
  const std::optional<size_t> at = FirstInvalidUtf8(text);
  if (!at) return {};
  return {"INVALID_ARGUMENT", std::string(field) + ": is not valid UTF-8 at byte " +
                                  std::to_string(*at) + "; send UTF-8 text or token ids"};
}

ClientError CheckTexts(const GenerateParams& params) {
  ClientError error = CheckUtf8("text", params.prompt);
  if (error.code.empty()) error = CheckUtf8("request_id", params.request_id);
  for (const std::string& stop : params.stop.stop) {
    if (error.code.empty()) error = CheckUtf8("stop", stop);
  }
  return error;
}

// One call's context, cancelled when the caller's token says so.
class Call {
 public:
  explicit Call(const CallOptions& options)
      : on_stop_(options.stop, [this] { context_.TryCancel(); }) {
    if (options.timeout.has_value()) {
      context_.set_deadline(std::chrono::system_clock::now() + *options.timeout);
    }
  }
  grpc::ClientContext* context() { return &context_; }

 private:
  grpc::ClientContext context_;  // before on_stop_, which may run at once
  std::stop_callback<std::function<void()>> on_stop_;
};

void Append(const GenerateChunk& chunk, GenerateResult& to) {
  to.text += chunk.text;
  to.token_ids.insert(to.token_ids.end(), chunk.token_ids.begin(), chunk.token_ids.end());
  to.logprobs.insert(to.logprobs.end(), chunk.logprobs.begin(), chunk.logprobs.end());
}

FinishReason FinishOf(const grpc::Status& status) {
  const bool cancelled = status.error_code() == grpc::StatusCode::CANCELLED ||
                         status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
  return cancelled ? FinishReason::kCancelled : FinishReason::kError;
}

}  // namespace

const char* Name(WorkerState state) {
  switch (state) {
    case WorkerState::kUnknown:
      return "unknown";
    case WorkerState::kAbsent:
      return "absent";
    case WorkerState::kJoined:
      return "joined";
    case WorkerState::kLoading:
      return "loading";
    case WorkerState::kReady:
      return "ready";
    case WorkerState::kLost:
      return "lost";
  }
  return "unknown";
}

struct Client::Impl {
  explicit Impl(const std::shared_ptr<grpc::Channel>& channel)
      : generation(v1::Generation::NewStub(channel)), cluster(v1::Cluster::NewStub(channel)) {}

  Result<ScoreResult> Score(const v1::ScoreRequest& request, const CallOptions& options) const {
    Call call(options);
    v1::ScoreResponse response;
    const grpc::Status status = generation->Score(call.context(), request, &response);
    return {client::FromProto(response), ToError(status)};
  }

  const std::unique_ptr<v1::Generation::Stub> generation;
  const std::unique_ptr<v1::Cluster::Stub> cluster;
};

Client::Client(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<std::optional<Client>> Client::Connect(const std::string& target,
                                              std::chrono::milliseconds wait) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxRequestMessageBytes);
  arguments.SetMaxSendMessageSize(kMaxRequestMessageBytes);
  // While a call is open, a server that vanished is noticed.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 30'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20'000);
  // The server may be about to start: ask again soon, not after gRPC's growing pauses.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
  // Straight to the server: http_proxy is for the web, and would break calls to loopback.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  auto channel = grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments);
  if (!channel->WaitForConnected(std::chrono::system_clock::now() + wait)) {
    return {
        std::nullopt,
        {"UNAVAILABLE", "no server answers at " + target + "; is `pamir serve` running there?"}};
  }
  return {Client(std::make_shared<Impl>(channel)), {}};
}

Result<GenerateResult> Client::Generate(const GenerateParams& params, const ChunkCallback& on_chunk,
                                        const CallOptions& options) const {
  Result<GenerateResult> result;
  result.error = CheckTexts(params);
  if (!result.ok()) return result;
  Call call(options);
  auto reader = impl_->generation->Generate(call.context(), client::ToProto(params));
  v1::GenerateResponse response;
  bool done = false;
  while (reader->Read(&response)) {
    if (response.has_chunk()) {
      const GenerateChunk chunk = client::FromProto(response.chunk());
      Append(chunk, result.value);
      if (on_chunk) on_chunk(chunk);
    }
    if (response.has_done()) {
      client::TakeDone(response.done(), result.value);
      done = true;
    }
  }
  const grpc::Status status = reader->Finish();
  result.error = ToError(status);
  if (!status.ok()) {
    result.value.finish_reason = FinishOf(status);
  } else if (!done) {
    result.value.finish_reason = FinishReason::kError;
    result.error = {"INTERNAL", "the server ended the stream without saying how it went"};
  }
  return result;
}

Result<ScoreResult> Client::Score(const std::string& text, const CallOptions& options) const {
  if (ClientError error = CheckUtf8("text", text); !error.code.empty()) return {{}, error};
  v1::ScoreRequest request;
  request.set_text(text);
  return impl_->Score(request, options);
}

Result<ScoreResult> Client::ScoreIds(const std::vector<int32_t>& ids,
                                     const CallOptions& options) const {
  v1::ScoreRequest request;
  request.mutable_token_ids()->mutable_ids()->Add(ids.begin(), ids.end());
  return impl_->Score(request, options);
}

Result<std::vector<int32_t>> Client::Tokenize(const std::string& text, bool add_bos,
                                              const CallOptions& options) const {
  if (ClientError error = CheckUtf8("text", text); !error.code.empty()) return {{}, error};
  Call call(options);
  v1::TokenizeRequest request;
  request.set_text(text);
  request.set_add_bos(add_bos);
  v1::TokenizeResponse response;
  const grpc::Status status = impl_->generation->Tokenize(call.context(), request, &response);
  return {{response.token_ids().begin(), response.token_ids().end()}, ToError(status)};
}

Result<std::string> Client::Detokenize(const std::vector<int32_t>& ids, bool skip_special,
                                       const CallOptions& options) const {
  Call call(options);
  v1::DetokenizeRequest request;
  request.mutable_token_ids()->Add(ids.begin(), ids.end());
  request.set_skip_special(skip_special);
  v1::DetokenizeResponse response;
  const grpc::Status status = impl_->generation->Detokenize(call.context(), request, &response);
  return {response.text(), ToError(status)};
}

Result<ServerStatus> Client::Status(const CallOptions& options) const {
  Call call(options);
  v1::GetStatusResponse response;
  const grpc::Status status =
      impl_->cluster->GetStatus(call.context(), v1::GetStatusRequest(), &response);
  return {client::FromProto(response), ToError(status)};
}

}  // namespace pamir
