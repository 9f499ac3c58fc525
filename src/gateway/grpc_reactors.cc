#include "gateway/grpc_reactors.h"

#include <chrono>

#include "absl/time/clock.h"
#include "gateway/grpc_convert.h"

namespace pamir::gateway {

absl::Time DeadlineOf(const grpc::CallbackServerContext& context) {
  const std::chrono::system_clock::time_point deadline = context.deadline();
  if (deadline == std::chrono::system_clock::time_point::max()) return absl::InfiniteFuture();
  return absl::FromChrono(deadline);
}

void UnaryConnection::OnCancel() {
  if (call_ != nullptr) call_->Cancel(absl::Now() >= deadline_);
}

void StreamConnection::SetCall(std::shared_ptr<GenerateCall> call, bool logprobs,
                               std::string request_id) {
  call_ = std::move(call);
  logprobs_ = logprobs;
  request_id_ = std::move(request_id);
}

void StreamConnection::WriteChunk(flow::TextChunk chunk) {
  v1::GenerateResponse response;
  ToProto(std::move(chunk), logprobs_, response);
  message_ = Serialize(response);
  StartWrite(&message_);
}

void StreamConnection::WriteLast(flow::TextChunk chunk, GenerateEnd end) {
  v1::GenerateResponse response;
  ToProto(std::move(chunk), logprobs_, response);
  ToProto(end, request_id_, *response.mutable_done());
  message_ = Serialize(response);
  StartWriteAndFinish(&message_, grpc::WriteOptions(), grpc::Status::OK);
}

void StreamConnection::OnWriteDone(bool ok) {
  if (call_ != nullptr) call_->OnWritten(ok);
}

void StreamConnection::OnCancel() {
  if (call_ != nullptr) call_->Cancel(absl::Now() >= deadline_);
}

}  // namespace pamir::gateway
