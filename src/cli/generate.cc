#include <cstdio>
#include <iostream>

#include "cli/client_commands.h"
#include "nlohmann/json.hpp"

namespace pamir::cli {
namespace {

void PrintJson(const GenerateResult& result) {
  nlohmann::ordered_json choice;
  choice["index"] = 0;
  choice["text"] = result.text;
  choice["token_ids"] = result.token_ids;
  choice["logprobs"] = result.logprobs;
  choice["finish_reason"] = Name(result.finish_reason);
  nlohmann::ordered_json out;
  out["choices"] = nlohmann::ordered_json::array({choice});
  out["prompt_token_ids"] = result.prompt_token_ids;
  out["seed"] = result.seed;
  out["usage"]["prompt_tokens"] = result.prompt_tokens;
  out["usage"]["completion_tokens"] = result.completion_tokens;
  std::cout << out.dump() << std::endl;
}

}  // namespace

int RunGenerate(const GenerateFlags& flags) {
  GenerateParams params;
  params.prompt = flags.prompt;
  if (!flags.prompt_file.empty()) {
    std::optional<std::string> text = ReadFileOrPrint(flags.prompt_file);
    if (!text) return kExitFailed;
    params.prompt = *std::move(text);
  }
  params.temperature = static_cast<float>(flags.temperature);
  params.top_k = flags.top_k;
  params.top_p = static_cast<float>(flags.top_p);
  params.seed = flags.seed;
  params.stop = {.max_tokens = flags.max_tokens,
                 .stop = flags.stop,
                 .stop_token_ids = flags.stop_token_ids,
                 .ignore_eos = flags.ignore_eos};
  params.logprobs = flags.client.json;

  const std::optional<Client> client = ConnectOrPrint(flags.client);
  if (!client) return kExitFailed;
  ChunkCallback print;
  if (!flags.client.json && !flags.no_stream) {
    print = [](const GenerateChunk& chunk) { std::cout << chunk.text << std::flush; };
  }
  const Result<GenerateResult> result = client->Generate(params, print, OptionsOf(flags.client));
  if (flags.client.json) {
    PrintJson(result.value);
  } else if (print) {
    std::cout << std::endl;
  } else {
    std::cout << result.value.text << std::endl;
  }
  return result.ok() ? kExitDone : PrintError(result.error);
}

}  // namespace pamir::cli
