// `pamir serve` as its users run it: a process with its workers, on a free port of loopback.
#ifndef PAMIR_TESTS_E2E_SERVER_H_
#define PAMIR_TESTS_E2E_SERVER_H_

#include <memory>
#include <string>
#include <vector>

#include "pamir/client.h"
#include "support/process.h"

namespace pamir::testing {

// The program under test (PAMIR_TEST_PROGRAM of the environment wins), and a file of the repository
// (PAMIR_TEST_SOURCE_DIR wins).
std::string PamirBinary();
std::string SourcePath(const std::string& relative);

class Server {
 public:
  // `flags` follow "pamir serve"; --grpc-port 0 is added. Throws where it does not become ready;
  // what it said is in the exception.
  // `environment` as for Process.
  explicit Server(const std::vector<std::string>& flags,
                  const std::vector<std::string>& environment = {});

  const std::string& target() const { return target_; }
  const Client& client() const { return *client_; }
  Process& process() { return *process_; }

  // SIGTERM, and its exit status.
  int Stop();

 private:
  std::unique_ptr<Process> process_;
  std::string target_;
  std::optional<Client> client_;
};

// "pamir ARGS..." to its end.
Finished RunPamir(const std::vector<std::string>& args,
                  std::chrono::seconds timeout = std::chrono::seconds(60));

// Waits until the server says that all its KV blocks are free and nothing runs or waits.
bool BecomesIdle(const Client& client, std::chrono::seconds timeout);

}  // namespace pamir::testing

#endif  // PAMIR_TESTS_E2E_SERVER_H_
