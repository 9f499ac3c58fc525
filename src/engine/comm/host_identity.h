#ifndef PAMIR_ENGINE_COMM_HOST_IDENTITY_H_
#define PAMIR_ENGINE_COMM_HOST_IDENTITY_H_

#include <string>

namespace pamir::comm {

// The running kernel, whatever container this is in: its devices are the same for all of them.
std::string MachineIdentity();

// As far as 127.0.0.1 reaches: boot id and network namespace. Two processes may share this and
// still not share memory (other process namespace, other user): see HostIdentity in communicator.h.
std::string LoopbackIdentity();

}  // namespace pamir::comm

#endif  // PAMIR_ENGINE_COMM_HOST_IDENTITY_H_
