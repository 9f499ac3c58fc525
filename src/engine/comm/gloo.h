// The transport between hosts: collectives over TCP through Gloo's pairs.
#ifndef PAMIR_ENGINE_COMM_GLOO_H_
#define PAMIR_ENGINE_COMM_GLOO_H_

#include <memory>

#include "absl/status/statusor.h"
#include "engine/comm/communicator.h"
#include "engine/comm/gloo_mesh.h"

namespace pamir::comm {

// Greets each peer and checks who answers. All ranks of the group at the same time, and only after
// all have connected their meshes.
absl::StatusOr<std::unique_ptr<Communicator>> StartGloo(std::unique_ptr<GlooMesh> mesh);

}  // namespace pamir::comm

#endif  // PAMIR_ENGINE_COMM_GLOO_H_
