// The connections of single calls, as gRPC's callback API wants them: objects that delete
// themselves when gRPC is done with them. Included only by grpc_generation.cc and grpc_reactors.cc.
#ifndef PAMIR_GATEWAY_GRPC_REACTORS_H_
#define PAMIR_GATEWAY_GRPC_REACTORS_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/server_callback.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "gateway/gate.h"
#include "gateway/generate_call.h"
#include "gateway/grpc_status.h"
#include "pamir/v1/generation.grpc.pb.h"  // and with it gRPC's SerializationTraits for protobuf

namespace pamir::gateway {

absl::Time DeadlineOf(const grpc::CallbackServerContext& context);

template <typename Message>
bool Parse(const grpc::ByteBuffer& bytes, Message* message) {
  grpc::ByteBuffer copy(bytes);  // of references; Deserialize empties what it reads
  return grpc::SerializationTraits<Message>::Deserialize(&copy, message).ok();
}

template <typename Message>
grpc::ByteBuffer Serialize(const Message& message) {
  grpc::ByteBuffer bytes;
  bool own = false;
  // Fails only for messages beyond 2 GiB, which the limits exclude; then it is empty.
  (void)grpc::SerializationTraits<Message>::Serialize(message, &bytes, &own).ok();
  return bytes;
}

// A call with one answer. Exactly one of Reply and Fail is called, once, on any thread.
class UnaryConnection final : public grpc::ServerUnaryReactor {
 public:
  UnaryConnection(grpc::CallbackServerContext* context, grpc::ByteBuffer* response)
      : deadline_(DeadlineOf(*context)), response_(response) {}

  // Before the handler returns; what is not set needs no cancelling or no place.
  void SetCall(std::shared_ptr<EngineCall> call) { call_ = std::move(call); }
  void SetTicket(Gate::Ticket ticket) { ticket_.emplace(std::move(ticket)); }
  absl::Time deadline() const { return deadline_; }

  template <typename Message>
  void Reply(const Message& message) {
    *response_ = Serialize(message);
    Finish(grpc::Status::OK);
  }
  void Fail(const ApiError& error) { Finish(ToGrpcStatus(error)); }

 private:
  void OnCancel() override;
  void OnDone() override { delete this; }

  const absl::Time deadline_;
  grpc::ByteBuffer* const response_;
  std::shared_ptr<EngineCall> call_;
  std::optional<Gate::Ticket> ticket_;
};

// A Generate stream.
class StreamConnection final : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                               public ChunkWriter {
 public:
  explicit StreamConnection(grpc::CallbackServerContext* context)
      : deadline_(DeadlineOf(*context)) {}

  // Before the handler returns and before the call is started.
  void SetCall(std::shared_ptr<GenerateCall> call, bool logprobs, std::string request_id);
  void SetTicket(Gate::Ticket ticket) { ticket_.emplace(std::move(ticket)); }
  absl::Time deadline() const { return deadline_; }

  void WriteChunk(flow::TextChunk chunk) override;
  void WriteLast(flow::TextChunk chunk, GenerateEnd end) override;
  void WriteError(const ApiError& error) override { Finish(ToGrpcStatus(error)); }

 private:
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override { delete this; }

  const absl::Time deadline_;
  std::shared_ptr<GenerateCall> call_;
  bool logprobs_ = false;
  std::string request_id_;
  grpc::ByteBuffer message_;  // the write under way
  std::optional<Gate::Ticket> ticket_;
};

}  // namespace pamir::gateway

#endif  // PAMIR_GATEWAY_GRPC_REACTORS_H_
