#include "gateway/grpc_generation.h"

#include <utility>
#include <variant>

#include "gateway/grpc_convert.h"
#include "gateway/grpc_reactors.h"
#include "gateway/validate.h"
#include "pamir/v1/generation.grpc.pb.h"

namespace pamir::gateway {
namespace {

using grpc::ByteBuffer;
using grpc::CallbackServerContext;
using v1::Generation;

// Takes a place for the call, then parses its message; nothing when either fails, and the
// connection has been told then.
template <typename Message, typename Connection, typename FailFn>
std::optional<Message> Open(Dispatcher& dispatcher, Connection& connection, const ByteBuffer& bytes,
                            const FailFn& fail) {
  Outcome<Gate::Ticket> ticket = dispatcher.gate().Enter();
  if (const ApiError* error = ErrorOf(ticket)) {
    fail(*error);
    return std::nullopt;
  }
  connection.SetTicket(std::move(std::get<Gate::Ticket>(ticket)));
  std::optional<Message> message(std::in_place);
  if (!Parse(bytes, &*message)) {
    fail(UnparsableMessage(message->GetTypeName()));
    return std::nullopt;
  }
  return message;
}

template <typename Message>
std::optional<Message> Open(Dispatcher& dispatcher, UnaryConnection& connection,
                            const ByteBuffer& bytes) {
  return Open<Message>(dispatcher, connection, bytes,
                       [&](const ApiError& error) { connection.Fail(error); });
}

using RawService = Generation::WithRawCallbackMethod_Generate<
    Generation::WithRawCallbackMethod_Score<Generation::WithRawCallbackMethod_Tokenize<
        Generation::WithRawCallbackMethod_Detokenize<Generation::Service>>>>;

class GenerationService final : public RawService {
 public:
  explicit GenerationService(Dispatcher* dispatcher) : dispatcher_(*dispatcher) {}

  grpc::ServerWriteReactor<ByteBuffer>* Generate(CallbackServerContext* context,
                                                 const ByteBuffer* bytes) override;
  grpc::ServerUnaryReactor* Score(CallbackServerContext* context, const ByteBuffer* bytes,
                                  ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Tokenize(CallbackServerContext* context, const ByteBuffer* bytes,
                                     ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Detokenize(CallbackServerContext* context, const ByteBuffer* bytes,
                                       ByteBuffer* response) override;

 private:
  Dispatcher& dispatcher_;
};

grpc::ServerWriteReactor<ByteBuffer>* GenerationService::Generate(CallbackServerContext* context,
                                                                  const ByteBuffer* bytes) {
  auto* connection = new StreamConnection(context);  // deletes itself
  auto message =
      Open<v1::GenerateRequest>(dispatcher_, *connection, *bytes,
                                [&](const ApiError& error) { connection->WriteError(error); });
  if (!message.has_value()) return connection;
  GenerateInput input = FromProto(*message, Dispatcher::DrawSeed());
  input.deadline = connection->deadline();
  auto request = ValidateGenerate(std::move(input), dispatcher_.text().vocab_size());
  if (const ApiError* error = ErrorOf(request)) {
    connection->WriteError(*error);
    return connection;
  }
  auto call =
      dispatcher_.NewGenerate(std::get<flow::GenerateRequest>(std::move(request)), connection);
  connection->SetCall(call, message->logprobs(), message->request_id());
  call->Start();
  return connection;
}

grpc::ServerUnaryReactor* GenerationService::Score(CallbackServerContext* context,
                                                   const ByteBuffer* bytes, ByteBuffer* response) {
  auto* connection = new UnaryConnection(context, response);  // deletes itself
  auto message = Open<v1::ScoreRequest>(dispatcher_, *connection, *bytes);
  if (!message.has_value()) return connection;
  ScoreInput input = FromProto(*message);
  input.deadline = connection->deadline();
  auto request = ValidateScore(std::move(input), dispatcher_.text().vocab_size());
  if (const ApiError* error = ErrorOf(request)) {
    connection->Fail(*error);
    return connection;
  }
  auto call = dispatcher_.NewScore(
      std::get<flow::GenerateRequest>(std::move(request)),
      [connection, id = message->request_id()](const Outcome<ScoreReply>& reply) {
        if (const ApiError* error = ErrorOf(reply)) return connection->Fail(*error);
        connection->Reply(ToProto(std::get<ScoreReply>(reply), id));
      });
  connection->SetCall(call);
  call->Start();
  return connection;
}

grpc::ServerUnaryReactor* GenerationService::Tokenize(CallbackServerContext* context,
                                                      const ByteBuffer* bytes,
                                                      ByteBuffer* response) {
  auto* connection = new UnaryConnection(context, response);
  auto message = Open<v1::TokenizeRequest>(dispatcher_, *connection, *bytes);
  if (!message.has_value()) return connection;
  if (auto error = CheckText("text", message->text())) {
    connection->Fail(*error);
    return connection;
  }
  dispatcher_.Tokenize(std::move(*message->mutable_text()), message->add_bos(),
                       [connection](const Outcome<std::vector<TokenId>>& ids) {
                         if (const ApiError* error = ErrorOf(ids)) return connection->Fail(*error);
                         const auto& list = std::get<std::vector<TokenId>>(ids);
                         v1::TokenizeResponse reply;
                         reply.mutable_token_ids()->Add(list.begin(), list.end());
                         connection->Reply(reply);
                       });
  return connection;
}

grpc::ServerUnaryReactor* GenerationService::Detokenize(CallbackServerContext* context,
                                                        const ByteBuffer* bytes,
                                                        ByteBuffer* response) {
  auto* connection = new UnaryConnection(context, response);
  auto message = Open<v1::DetokenizeRequest>(dispatcher_, *connection, *bytes);
  if (!message.has_value()) return connection;
  std::vector<TokenId> ids(message->token_ids().begin(), message->token_ids().end());
  if (auto error = CheckIds("token_ids", ids, dispatcher_.text().vocab_size())) {
    connection->Fail(*error);
    return connection;
  }
  dispatcher_.Detokenize(std::move(ids), message->skip_special(),
                         [connection](const Outcome<std::string>& text) {
                           if (const ApiError* error = ErrorOf(text)) {
                             return connection->Fail(*error);
                           }
                           v1::DetokenizeResponse reply;
                           reply.set_text(std::get<std::string>(text));
                           connection->Reply(reply);
                         });
  return connection;
}

}  // namespace

std::unique_ptr<grpc::Service> NewGenerationService(Dispatcher* dispatcher) {
  return std::make_unique<GenerationService>(dispatcher);
}

}  // namespace pamir::gateway
