// What generate, score and status share.
#ifndef PAMIR_CLI_CLIENT_COMMANDS_H_
#define PAMIR_CLI_CLIENT_COMMANDS_H_

#include <chrono>
#include <cstdio>
#include <optional>
#include <string>

#include "cli/options.h"
#include "cli/read_file.h"
#include "pamir/client.h"

namespace pamir::cli {

inline int PrintError(const ClientError& error) {
  std::fprintf(stderr, "pamir: %s: %s\n", error.code.c_str(), error.message.c_str());
  return kExitFailed;
}

inline std::optional<Client> ConnectOrPrint(const ClientFlags& flags) {
  constexpr std::chrono::seconds kConnectWait(5);
  Result<std::optional<Client>> client = Client::Connect(flags.target, kConnectWait);
  if (client.ok()) return client.value;
  PrintError(client.error);
  return std::nullopt;
}

inline CallOptions OptionsOf(const ClientFlags& flags) {
  CallOptions options;
  options.timeout = std::chrono::milliseconds(static_cast<int64_t>(flags.timeout_s * 1000));
  return options;
}

inline std::optional<std::string> ReadFileOrPrint(const std::string& path) {
  absl::StatusOr<std::string> text = ReadFile(path);
  if (text.ok()) return *std::move(text);
  std::fprintf(stderr, "pamir: cannot read %s\n", std::string(text.status().message()).c_str());
  return std::nullopt;
}

}  // namespace pamir::cli

#endif  // PAMIR_CLI_CLIENT_COMMANDS_H_
