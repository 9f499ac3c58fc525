// Whatever arrives on the control plane is either refused or a message that comes back the same.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "cluster/wire/convert.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (const auto down = pamir::wire::DecodeToWorker(bytes); down.ok()) {
    const auto again = pamir::wire::DecodeToWorker(*pamir::wire::Encode(*down));
    PAMIR_CHECK(again.ok(), again.status().ToString());
    PAMIR_CHECK(*again == *down, "a message to a worker changed");
  }
  if (const auto up = pamir::wire::DecodeFromWorker(bytes); up.ok()) {
    const auto again = pamir::wire::DecodeFromWorker(*pamir::wire::Encode(*up));
    PAMIR_CHECK(again.ok(), again.status().ToString());
    PAMIR_CHECK(again->index() == up->index(), "a message from a worker changed its kind");
  }
  return 0;
}
