#include <cstdio>
#include <iostream>

#include "base/units.h"
#include "cli/client_commands.h"
#include "nlohmann/json.hpp"

namespace pamir::cli {
namespace {

nlohmann::ordered_json ToJson(const ServerStatus& s) {
  nlohmann::ordered_json out;
  out["ready"] = s.ready;
  out["draining"] = s.draining;
  out["model"] = s.model;
  out["version"] = s.version;
  out["max_model_len"] = s.max_model_len;
  out["epoch"] = s.epoch;
  out["steps"] = s.steps;
  out["running"] = s.running;
  out["waiting"] = s.waiting;
  out["max_running"] = s.max_running;
  out["max_waiting"] = s.max_waiting;
  out["blocks_total"] = s.blocks_total;
  out["blocks_free"] = s.blocks_free;
  out["block_size"] = s.block_size;
  out["requests_finished"] = s.requests_finished;
  out["tokens_generated"] = s.tokens_generated;
  out["preemptions"] = s.preemptions;
  out["ranks"] = nlohmann::ordered_json::array();
  for (const WorkerStatus& w : s.workers) {
    out["ranks"].push_back({{"rank", w.rank},
                            {"state", Name(w.state)},
                            {"host", w.host},
                            {"device", w.device},
                            {"stage", w.stage},
                            {"tensor_index", w.tensor_index},
                            {"first_layer", w.first_layer},
                            {"layers", w.layers},
                            {"weight_bytes", w.weight_bytes},
                            {"kv_bytes", w.kv_bytes},
                            {"load_fraction", w.load_fraction}});
  }
  return out;
}

void PrintTable(const ServerStatus& s) {
  std::printf("%s  %s%s  pamir %s\n", s.model.c_str(), s.ready ? "ready" : "not ready",
              s.draining ? ", draining" : "", s.version.c_str());
  std::printf("requests   %d running (max %d), %d waiting (max %d), %llu finished\n", s.running,
              s.max_running, s.waiting, s.max_waiting,
              static_cast<unsigned long long>(s.requests_finished));
  std::printf("tokens     %llu generated in %llu steps, %llu preemptions\n",
              static_cast<unsigned long long>(s.tokens_generated),
              static_cast<unsigned long long>(s.steps),
              static_cast<unsigned long long>(s.preemptions));
  std::printf("KV cache   %d of %d blocks free, %d tokens each; context %d\n", s.blocks_free,
              s.blocks_total, s.block_size, s.max_model_len);
  std::printf("%-5s %-8s %-6s %-6s %-10s %-10s %-10s %s\n", "rank", "state", "stage", "shard",
              "layers", "weights", "KV", "host");
  for (const WorkerStatus& w : s.workers) {
    const std::string layers =
        std::to_string(w.first_layer) + ".." + std::to_string(w.first_layer + w.layers - 1);
    std::printf("%-5d %-8s %-6d %-6d %-10s %-10s %-10s %s\n", w.rank, Name(w.state), w.stage,
                w.tensor_index, layers.c_str(), HumanBytes(w.weight_bytes).c_str(),
                HumanBytes(w.kv_bytes).c_str(), w.host.c_str());
  }
}

}  // namespace

int RunStatus(const StatusFlags& flags) {
  const std::optional<Client> client = ConnectOrPrint(flags.client);
  if (!client) return kExitFailed;
  const Result<ServerStatus> status = client->Status(OptionsOf(flags.client));
  if (!status.ok()) return PrintError(status.error);
  if (flags.client.json) {
    std::cout << ToJson(status.value).dump() << std::endl;
  } else {
    PrintTable(status.value);
  }
  return kExitDone;
}

}  // namespace pamir::cli
