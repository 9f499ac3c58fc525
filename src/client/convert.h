// The client's plain structs to protobuf messages, and back.
#ifndef PAMIR_CLIENT_CONVERT_H_
#define PAMIR_CLIENT_CONVERT_H_

#include "pamir/client.h"
#include "pamir/v1/cluster.pb.h"
#include "pamir/v1/generation.pb.h"

namespace pamir::client {

v1::GenerateRequest ToProto(const GenerateParams& params);
GenerateChunk FromProto(const v1::GenerateChunk& chunk);
// Takes the end of a stream into the result.
void TakeDone(const v1::GenerateDone& done, GenerateResult& result);
ScoreResult FromProto(const v1::ScoreResponse& response);
ServerStatus FromProto(const v1::GetStatusResponse& response);

}  // namespace pamir::client

#endif  // PAMIR_CLIENT_CONVERT_H_
