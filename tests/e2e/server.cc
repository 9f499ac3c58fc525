#include "e2e/server.h"

#include <signal.h>

#include <cstdlib>
#include <stdexcept>
#include <thread>

#include "support/golden.h"

namespace pamir::testing {

// Sanitizers and crowded machines are slow; a server that is not up by then never will be.
constexpr std::chrono::seconds kReadyWithin(120);

std::string PamirBinary() {
  const char* given = std::getenv("PAMIR_TEST_PROGRAM");
  return given != nullptr ? given : std::string(PAMIR_BINARY_DIR) + "/bin/pamir";
}

std::string SourcePath(const std::string& relative) { return SourceDirectory() + "/" + relative; }

Server::Server(const std::vector<std::string>& flags, const std::vector<std::string>& environment) {
  std::vector<std::string> argv = {PamirBinary(), "serve"};
  argv.insert(argv.end(), flags.begin(), flags.end());
  argv.insert(argv.end(), {"--grpc-port", "0"});
  process_ = std::make_unique<Process>(argv, environment);
  const std::optional<std::string> address = process_->WaitForLine("gRPC  ", kReadyWithin);
  if (!address) throw std::runtime_error("pamir serve did not get ready: " + process_->errors());
  target_ = *address;
  Result<std::optional<Client>> connected = Client::Connect(target_, std::chrono::seconds(10));
  if (!connected.ok()) throw std::runtime_error(connected.error.message);
  client_ = connected.value;
}

int Server::Stop() {
  process_->Signal(SIGTERM);
  return process_->WaitForExit(std::chrono::seconds(60)).value_or(-1);
}

Finished RunPamir(const std::vector<std::string>& args, std::chrono::seconds timeout) {
  std::vector<std::string> argv = {PamirBinary()};
  argv.insert(argv.end(), args.begin(), args.end());
  return RunToEnd(argv, timeout);
}

bool BecomesIdle(const Client& client, std::chrono::seconds timeout) {
  const auto until = std::chrono::steady_clock::now() + timeout;
  while (std::chrono::steady_clock::now() < until) {
    const Result<ServerStatus> status = client.Status();
    if (status.ok() && status.value.running == 0 && status.value.waiting == 0 &&
        status.value.blocks_free == status.value.blocks_total) {
      return true;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return false;
}

}  // namespace pamir::testing
