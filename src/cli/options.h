// The command line as plain structs. parse.cc fills them; nothing here depends on CLI11.
#ifndef PAMIR_CLI_OPTIONS_H_
#define PAMIR_CLI_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace pamir::cli {

// What `serve` and `coordinator` share: the model, how it is cut, and the limits.
struct EngineFlags {
  std::string model;              // a directory, or opt-125m .. opt-175b with --load-format dummy
  std::string served_model_name;  // empty: the model's own
  std::string load_format = "auto";
  std::string dtype = "auto";
  std::string kv_cache_dtype = "auto";
  std::string device = "auto";
  std::string relu_skip = "off";
  int tensor_parallel = 1;
  int pipeline_parallel = 1;
  int threads = 0;        // of each worker's kernel pool; 0: the host's cores / its workers
  int max_model_len = 0;  // 0: the model's own context
  int max_num_seqs = 64;
  int max_num_batched_tokens = 2048;
  int block_size = 16;
  int num_kv_blocks = 0;                // 0: from the memory of this machine
  double gpu_memory_utilization = 0.9;  // the share of a GPU's memory that its ranks may use
  double gpu_memory_gib = 0;            // of a worker's GPU; 0: as this machine's
  int max_waiting = 1024;               // requests
  uint64_t seed = 0;                    // of dummy weights
  double dummy_relu_density = 0.5;
  std::string transport = "auto";
  // A rank waits this long for another's part, also while that one computes: a long prefill of a
  // large model takes minutes on a CPU. Ranks that died or hang are found sooner (closed links,
  // heartbeats).
  double comm_timeout_s = 300;
  double worker_timeout_s = 300;  // for all workers to join
  std::string host = "127.0.0.1";
  int grpc_port = 50051;
  std::string log_format = "text";
};

struct TlsFlags {
  std::string cert, key, ca;
};

struct ServeFlags {
  EngineFlags engine;
  std::string sample;  // a prompt to continue once everything is up
};

struct CoordinatorFlags {
  EngineFlags engine;
  int workers = 0;  // 0: as many as the plan has ranks
  std::string worker_listen = "127.0.0.1:50061";
  TlsFlags tls;
};

struct WorkerFlags {
  std::string coordinator;  // HOST:PORT or unix:PATH
  std::string model;        // where the checkpoint lies here, if elsewhere than on the coordinator
  std::string device = "auto";
  int threads = 0;  // 0: what the coordinator says
  std::string data_interface;
  double join_timeout_s = 60;
  TlsFlags tls;
  std::string log_format = "text";
};

struct ClientFlags {
  std::string target = "127.0.0.1:50051";
  double timeout_s = 600;
  bool json = false;
};

struct GenerateFlags {
  ClientFlags client;
  std::string prompt;
  std::string prompt_file;
  int max_tokens = 16;
  double temperature = 1;
  int top_k = 0;
  double top_p = 1;
  std::optional<uint64_t> seed;
  std::vector<std::string> stop;
  std::vector<int32_t> stop_token_ids;
  bool ignore_eos = false;
  bool no_stream = false;
};

struct ScoreFlags {
  ClientFlags client;
  std::string text;
  std::string file;
  int window = 0;  // 0: the whole text at once
};

struct StatusFlags {
  ClientFlags client;
};

struct ModelInspectFlags {
  std::string model;
  int tensor_parallel = 1;
  int pipeline_parallel = 1;
  std::string dtype = "auto";
};

struct ModelSynthFlags {
  std::string size;
  std::string out;
  uint64_t seed = 0;
  double dummy_relu_density = 0.5;
};

struct ModelVerifyFlags {
  std::string model;
};

struct BenchEngineFlags {
  std::string model = "opt-13b";  // a directory, or opt-125m .. opt-175b
  std::string device = "auto";
  std::string dtype = "auto";
  std::string kv_cache_dtype = "auto";
  std::string load_format = "auto";  // a name has no checkpoint: dummy weights
  std::string relu_skip = "off";
  double dummy_relu_density = 0.5;
  std::vector<int32_t> batch = {1, 8, 32, 64};
  int32_t context = 512;
  int32_t prefill = 2048;
  int32_t steps = 50;
  int threads = 0;
  bool json = false;
};

using Command =
    std::variant<ServeFlags, CoordinatorFlags, WorkerFlags, GenerateFlags, ScoreFlags, StatusFlags,
                 ModelInspectFlags, ModelSynthFlags, ModelVerifyFlags, BenchEngineFlags>;

// Exit statuses of every command.
inline constexpr int kExitDone = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;

// A command to run, or the exit status where parsing has said all there is to say (--help,
// --version, a wrong flag: the message has been printed).
std::variant<Command, int> ParseCommandLine(int argc, char** argv);

// One file a command; each returns an exit status.
int RunServe(const ServeFlags& flags);
int RunCoordinator(const CoordinatorFlags& flags);
int RunWorkerCommand(const WorkerFlags& flags);
int RunGenerate(const GenerateFlags& flags);
int RunScore(const ScoreFlags& flags);
int RunStatus(const StatusFlags& flags);
int RunModelInspect(const ModelInspectFlags& flags);
int RunModelSynth(const ModelSynthFlags& flags);
int RunModelVerify(const ModelVerifyFlags& flags);
int RunBenchEngine(const BenchEngineFlags& flags);

}  // namespace pamir::cli

#endif  // PAMIR_CLI_OPTIONS_H_
