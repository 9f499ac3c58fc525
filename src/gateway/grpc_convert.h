// Protobuf messages of the public API to the doors' plain structs, and back. Nothing is judged
// here: that is validate.h's.
#ifndef PAMIR_GATEWAY_GRPC_CONVERT_H_
#define PAMIR_GATEWAY_GRPC_CONVERT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "core/flow/ports.h"
#include "core/flow/text_chunk.h"
#include "gateway/outbox.h"
#include "gateway/score_call.h"
#include "gateway/validate.h"
#include "pamir/v1/cluster.pb.h"
#include "pamir/v1/generation.pb.h"

namespace pamir::gateway {

// Takes the message's strings. drawn_seed is used where the request has none.
GenerateInput FromProto(v1::GenerateRequest& request, uint64_t drawn_seed);
ScoreInput FromProto(v1::ScoreRequest& request);

// Fills `out.chunk` unless the chunk has neither text nor tokens.
void ToProto(flow::TextChunk chunk, bool with_logprobs, v1::GenerateResponse& out);
void ToProto(const GenerateEnd& end, const std::string& request_id, v1::GenerateDone& out);
v1::ScoreResponse ToProto(const ScoreReply& reply, const std::string& request_id);
v1::GetStatusResponse ToProto(const flow::EngineStats& stats);

}  // namespace pamir::gateway

#endif  // PAMIR_GATEWAY_GRPC_CONVERT_H_
