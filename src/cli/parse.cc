#include <memory>
#include <span>
#include <sstream>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "cli/device_choice.h"
#include "cli/options.h"
#include "pamir/version.h"

namespace pamir::cli {
namespace {

constexpr double kMaxSeconds = 86400;

// "--max-num-seqs" can also come from PAMIR_MAX_NUM_SEQS; a flag wins.
std::string EnvironmentName(const std::string& flag) {
  std::string name = "PAMIR_";
  for (const char c : flag.substr(flag.find_first_not_of('-'))) {
    name += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return name;
}

template <typename T>
CLI::Option* Add(CLI::App* app, const std::string& names, T& value, const std::string& help) {
  const std::string first = names.substr(0, names.find(','));
  return app->add_option(names, value, help)->envname(EnvironmentName(first));
}

// One line an option where it fits: the names, what to give, the default, the help.
class CompactFormatter final : public CLI::Formatter {
 public:
  CompactFormatter() { column_width(38); }
  std::string make_option_opts(const CLI::Option* option) const override {
    std::string text = option->get_type_name();
    text = text.substr(0, text.find(':'));  // without what the validators say
    if (text.empty()) return "";
    const std::string fallback = option->get_default_str();
    return " " + text + (fallback.empty() ? "" : "=" + fallback);
  }
};

template <typename T>
void AddChoice(CLI::App* app, const std::string& name, T& value, const std::string& help,
               const std::vector<std::string>& choices) {
  std::string type;
  for (const std::string& choice : choices) type += (type.empty() ? "" : "|") + choice;
  Add(app, name, value, help)->check(CLI::IsMember(choices))->type_name(type);
}

// As CLI::Range, which lets NaN through: no comparison with it is true.
template <typename T>
CLI::Validator InRange(T least, T most) {
  const auto check = [least, most](const std::string& text) -> std::string {
    T value;
    const bool is_number = CLI::detail::lexical_cast(text, value);
    if (is_number && value >= least && value <= most) return "";
    std::ostringstream why;
    why << "Value " << text << " is not in the range " << least << " to " << most;
    return why.str();
  };
  return CLI::Validator(check, "");
}

template <typename T>
void AddNumber(CLI::App* app, const std::string& names, T& value, const std::string& help, T least,
               T most) {
  Add(app, names, value, help)->check(InRange(least, most))->type_name("N")->capture_default_str();
}

void AddLogFormat(CLI::App* app, std::string& value) {
  AddChoice(app, "--log-format", value, "of log lines", {"text", "json"});
}

void AddKvCacheDType(CLI::App* app, std::string& value) {
  AddChoice(app, "--kv-cache-dtype", value, "of the KV cache on GPUs", {"auto", "float16", "fp8"});
}

void AddModelFlags(CLI::App* app, EngineFlags* f) {
  Add(app, "--model", f->model, "Hugging Face directory, or opt-125m..opt-175b")
      ->required()
      ->type_name("DIR|NAME");
  AddNumber(app, "--tensor-parallel-size,--tp", f->tensor_parallel, "ranks a stage (-tp)", 1, 1024);
  AddNumber(app, "--pipeline-parallel-size,--pp", f->pipeline_parallel, "stages of layers (-pp)", 1,
            1024);
  AddChoice(app, "--device", f->device, "what workers run on", {"auto", "cpu", "cuda"});
  AddChoice(app, "--relu-skip", f->relu_skip, "idle neurons fc2 leaves out on GPUs",
            {"off", "group", "full"});
  AddNumber(app, "--threads", f->threads, "kernel threads a worker (0: cores/workers)", 0, 1024);
  AddChoice(app, "--dtype", f->dtype, "of weights", {"auto", "float16", "bfloat16", "float32"});
  AddKvCacheDType(app, f->kv_cache_dtype);
  AddChoice(app, "--load-format", f->load_format, "dummy: no files", {"auto", "dummy"});
  AddNumber<uint64_t>(app, "--seed", f->seed, "of dummy weights", 0, UINT64_MAX);
  AddNumber(app, "--dummy-relu-density", f->dummy_relu_density, "active neurons in them", 0.001,
            1.0);
  Add(app, "--served-model-name", f->served_model_name, "name to show")->type_name("NAME");
}

void AddLimitFlags(CLI::App* app, EngineFlags* f) {
  AddNumber(app, "--max-model-len", f->max_model_len, "context in tokens (0: the model's)", 0,
            1 << 20);
  AddNumber(app, "--max-num-seqs", f->max_num_seqs, "sequences that run at once", 1, 4096);
  AddNumber(app, "--max-num-batched-tokens", f->max_num_batched_tokens, "tokens of a step", 1,
            65536);
  AddNumber(app, "--block-size", f->block_size, "tokens of a KV block (only 16 yet)", 16, 16);
  AddNumber(app, "--num-kv-blocks", f->num_kv_blocks, "KV blocks (0: from the memory)", 0, 1 << 30);
  AddNumber(app, "--gpu-memory-utilization", f->gpu_memory_utilization,
            "share of a GPU's memory to use", 0.01, 1.0);
  AddNumber(app, "--max-waiting", f->max_waiting, "requests that may wait", 1, 1'000'000);
}

void AddEngineFlags(CLI::App* app, EngineFlags* f) {
  AddModelFlags(app, f);
  AddLimitFlags(app, f);
  AddChoice(app, "--transport", f->transport, "between ranks",
            {"auto", "shm", "gloo", "nccl", "staged"});
  AddNumber(app, "--comm-timeout", f->comm_timeout_s, "seconds a rank may be late", 0.1, 3600.0);
  AddNumber(app, "--worker-timeout", f->worker_timeout_s, "seconds to join", 1.0, kMaxSeconds);
  Add(app, "--host", f->host, "address of the API")->capture_default_str()->type_name("ADDR");
  AddNumber(app, "--grpc-port", f->grpc_port, "port of the gRPC API (0: any)", 0, 65535);
  AddLogFormat(app, f->log_format);
}

void AddTlsFlags(CLI::App* app, TlsFlags* f) {
  Add(app, "--tls-cert", f->cert, "certificate chain, PEM (mutual TLS off loopback)")
      ->type_name("FILE");
  Add(app, "--tls-key", f->key, "private key, PEM")->type_name("FILE");
  Add(app, "--tls-ca", f->ca, "CA that signs the other side, PEM")->type_name("FILE");
}

void AddClientFlags(CLI::App* app, ClientFlags* f) {
  Add(app, "--target", f->target, "address of the server")
      ->capture_default_str()
      ->type_name("HOST:PORT");
  AddNumber(app, "--timeout", f->timeout_s, "seconds for the request", 0.001, kMaxSeconds);
  app->add_flag("--json", f->json, "print one JSON object");
}

void AddServe(CLI::App* app, Command* out) {
  auto* f = &out->emplace<ServeFlags>();
  AddEngineFlags(app, &f->engine);
  Add(app, "--sample", f->sample, "when ready, continue this prompt and print it")
      ->type_name("TEXT");
  app->footer("Example: pamir serve --model configs/models/fable-14m -tp 2");
}

void AddCoordinator(CLI::App* app, Command* out) {
  auto* f = &out->emplace<CoordinatorFlags>();
  AddEngineFlags(app, &f->engine);
  AddNumber(app, "--workers", f->workers, "workers to wait for (0: tp x pp)", 0, 1024);
  AddNumber(app, "--gpu-memory", f->engine.gpu_memory_gib,
            "GiB of a worker's GPU (0: as the GPUs here)", 0.0, 4096.0);
  Add(app, "--worker-listen", f->worker_listen, "where workers join")
      ->capture_default_str()
      ->type_name("HOST:PORT");
  AddTlsFlags(app, &f->tls);
  app->footer(
      "Example: pamir coordinator --model /models/opt-13b -tp 2 --worker-listen 10.0.0.1:50061 \\\n"
      "           --tls-cert c.pem --tls-key c.key --tls-ca ca.pem");
}

void AddWorkerDevice(CLI::App* app, std::string& value) {
  Add(app, "--device", value, "what to run on (auto: the first GPU, else the CPU)")
      ->check([](const std::string& text) {
        return IsWorkerDevice(text) ? "" : text + " is none of auto, cpu, cuda, cuda:N";
      })
      ->type_name("auto|cpu|cuda|cuda:N");
}

void AddWorker(CLI::App* app, Command* out) {
  auto* f = &out->emplace<WorkerFlags>();
  Add(app, "--coordinator", f->coordinator, "where the coordinator listens")
      ->required()
      ->type_name("HOST:PORT");
  Add(app, "--model", f->model, "the checkpoint's directory on this host, if another")
      ->type_name("DIR");
  AddWorkerDevice(app, f->device);
  AddNumber(app, "--threads", f->threads, "kernel threads (0: as the coordinator says)", 0, 1024);
  Add(app, "--data-interface", f->data_interface,
      "network interface to the other workers (private network!)")
      ->type_name("IF");
  AddNumber(app, "--join-timeout", f->join_timeout_s, "seconds to reach the coordinator", 0.001,
            kMaxSeconds);
  AddTlsFlags(app, &f->tls);
  AddLogFormat(app, f->log_format);
  app->footer(
      "Example: pamir worker --coordinator 10.0.0.1:50061 --data-interface eth1 \\\n"
      "           --tls-cert w.pem --tls-key w.key --tls-ca ca.pem");
}

void AddGenerate(CLI::App* app, Command* out) {
  auto* f = &out->emplace<GenerateFlags>();
  auto* prompt = app->add_option("--prompt", f->prompt, "text to continue (may be empty)");
  app->add_option("--prompt-file", f->prompt_file, "the same from a file")->excludes(prompt);
  app->add_option("--max-tokens", f->max_tokens, "tokens to generate")->capture_default_str();
  app->add_option("--temperature", f->temperature, "0: greedy")->capture_default_str();
  app->add_option("--top-k", f->top_k, "keep the K most likely tokens (0: all)");
  app->add_option("--top-p", f->top_p, "keep the likeliest tokens that sum to P")
      ->capture_default_str();
  app->add_option("--seed", f->seed, "same seed, same text");
  app->add_option("--stop", f->stop, "end before this text (may be repeated)")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app->add_option("--stop-token-id", f->stop_token_ids, "end at this token (may be repeated)")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app->add_flag("--ignore-eos", f->ignore_eos, "go on after the end token");
  app->add_flag("--no-stream", f->no_stream, "print the text at the end");
  AddClientFlags(app, &f->client);
  app->footer(
      "Example: pamir generate --prompt \"Once upon a time\" --max-tokens 64 --temperature 0");
}

void AddScore(CLI::App* app, Command* out) {
  auto* f = &out->emplace<ScoreFlags>();
  auto* text = app->add_option("--text", f->text, "text to score");
  auto* file = app->add_option("--file", f->file, "file to score");
  text->excludes(file);
  app->add_option("--window", f->window, "tokens fed at once (0: the whole text)")
      ->check(CLI::NonNegativeNumber);
  AddClientFlags(app, &f->client);
  app->footer("Example: pamir score --file book.txt --window 512");
}

void AddStatus(CLI::App* app, Command* out) {
  AddClientFlags(app, &out->emplace<StatusFlags>().client);
  app->footer("Example: pamir status --target 127.0.0.1:50051");
}

void AddModelInspect(CLI::App* app, Command* out) {
  auto* f = &out->emplace<ModelInspectFlags>();
  app->add_option("model", f->model, "directory, or opt-125m..opt-175b")->required();
  app->add_option("--tensor-parallel-size,--tp", f->tensor_parallel,
                  "ranks that share each layer (-tp)")
      ->check(CLI::Range(1, 1024));
  app->add_option("--pipeline-parallel-size,--pp", f->pipeline_parallel, "stages (-pp)")
      ->check(CLI::Range(1, 1024));
  app->add_option("--dtype", f->dtype, "of weights in memory")
      ->check(CLI::IsMember({"auto", "float16", "bfloat16", "float32"}));
  app->footer("Example: pamir model inspect opt-175b -tp 8 -pp 2");
}

void AddModelSynth(CLI::App* app, Command* out) {
  auto* f = &out->emplace<ModelSynthFlags>();
  app->add_option("--size", f->size, "125m, 350m, 1.3b, 2.7b, 6.7b, 13b, 30b, 66b or 175b")
      ->required();
  app->add_option("--out", f->out, "directory to write; new or empty")->required();
  app->add_option("--seed", f->seed, "of the weights");
  app->add_option("--dummy-relu-density", f->dummy_relu_density, "share of active neurons")
      ->check(InRange(0.001, 1.0));
  app->footer("Example: pamir model synth --size 1.3b --out /tmp/opt-1.3b");
}

void AddModelVerify(CLI::App* app, Command* out) {
  app->add_option("model", out->emplace<ModelVerifyFlags>().model, "directory")->required();
  app->footer("Example: pamir model verify configs/models/fable-14m");
}

void AddBenchEngine(CLI::App* app, Command* out) {
  auto* f = &out->emplace<BenchEngineFlags>();
  Add(app, "--model", f->model, "Hugging Face directory, or opt-125m..opt-175b (dummy weights)")
      ->type_name("DIR|NAME")
      ->capture_default_str();
  AddWorkerDevice(app, f->device);
  AddChoice(app, "--dtype", f->dtype, "of weights", {"auto", "float16", "bfloat16", "float32"});
  AddKvCacheDType(app, f->kv_cache_dtype);
  AddChoice(app, "--load-format", f->load_format, "dummy: no files", {"auto", "dummy"});
  AddChoice(app, "--relu-skip", f->relu_skip, "idle neurons fc2 leaves out on GPUs",
            {"off", "group", "full"});
  AddNumber(app, "--dummy-relu-density", f->dummy_relu_density, "active neurons in dummy weights",
            0.001, 1.0);
  Add(app, "--batch", f->batch, "sequences of a decode step, a row each")
      ->delimiter(',')
      ->check(InRange(1, 4096))
      ->type_name("N,N..")
      ->capture_default_str();
  AddNumber(app, "--context", f->context, "tokens of each, on average over the steps", 1, 1 << 20);
  AddNumber(app, "--prefill", f->prefill, "tokens of a prompt in one step (0: no such row)", 0,
            65536);
  AddNumber(app, "--steps", f->steps, "timed steps of a decode row", 1, 1 << 20);
  AddNumber(app, "--threads", f->threads, "kernel threads of a CPU (0: its cores)", 0, 1024);
  app->add_flag("--json", f->json, "print one JSON object");
  app->footer(
      "Example: pamir bench engine --model opt-13b --relu-skip full --dummy-relu-density 0.05 \\\n"
      "           --batch 1,4,8");
}

using AddFlags = void (*)(CLI::App*, Command*);
struct Entry {
  const char* name;
  const char* help;
  AddFlags add;
};
constexpr Entry kCommands[] = {
    {"serve", "a coordinator and local workers, in one command", AddServe},
    {"coordinator", "owns every request; workers join it", AddCoordinator},
    {"worker", "one process a device: holds a slice of the model", AddWorker},
    {"generate", "continue a prompt", AddGenerate},
    {"score", "log-probability of each token, and the perplexity", AddScore},
    {"status", "what the server and its ranks are doing", AddStatus},
};
constexpr Entry kModelCommands[] = {
    {"inspect", "shapes, parameters, bytes, what each rank would hold", AddModelInspect},
    {"synth", "write a model with dummy weights", AddModelSynth},
    {"verify", "check every tensor against the configuration", AddModelVerify},
};
constexpr Entry kBenchCommands[] = {
    {"engine", "time the steps of one rank, beside what the device could do", AddBenchEngine},
};

// The commands of `app`, each with its own flags, behind those in `apps`.
void AddCommands(CLI::App* app, std::span<const Entry> entries, std::vector<CLI::App*>* apps,
                 std::vector<Command>* parsed) {
  for (const Entry& entry : entries) {
    apps->push_back(app->add_subcommand(entry.name, entry.help));
    entry.add(apps->back(), &(*parsed)[apps->size() - 1]);
    // With any callback CLI11 looks at the environment for the command that was named only, so that
    // a variable for `serve` breaks no `status`.
    apps->back()->parse_complete_callback([] {});
  }
}

// CLI11 takes no one-dash names of two letters.
std::vector<std::string> RewriteShortNames(int argc, char** argv) {
  std::vector<std::string> args;
  for (int i = argc - 1; i > 0; --i) {  // CLI11 reads from the back
    std::string arg = argv[i];
    if (arg.rfind("-tp", 0) == 0 || arg.rfind("-pp", 0) == 0) arg = "-" + arg;
    args.push_back(std::move(arg));
  }
  return args;
}

}  // namespace

std::variant<Command, int> ParseCommandLine(int argc, char** argv) {
  CLI::App app("Pamir serves OPT language models on the machines you have.", "pamir");
  app.formatter(std::make_shared<CompactFormatter>());  // subcommands inherit it
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("pamir ") + kVersion);
  app.footer(
      "Example: pamir serve --model configs/models/fable-14m -tp 2\n"
      "         pamir COMMAND --help\n"
      "Each flag of serve, coordinator, worker and bench may come from the environment: "
      "PAMIR_MAX_NUM_SEQS=8");

  // Each command has its own flags; the one that was named is the one that counts.
  std::vector<Command> parsed(std::size(kCommands) + std::size(kModelCommands) +
                              std::size(kBenchCommands));
  std::vector<CLI::App*> apps;
  AddCommands(&app, kCommands, &apps, &parsed);
  CLI::App* model = app.add_subcommand("model", "look at, make or check a model's files");
  model->require_subcommand(1);
  model->footer("Example: pamir model inspect opt-13b -tp 2");
  AddCommands(model, kModelCommands, &apps, &parsed);
  CLI::App* bench = app.add_subcommand("bench", "measure this machine");
  bench->require_subcommand(1);
  bench->footer("Example: pamir bench engine --model opt-1.3b --batch 1,8");
  AddCommands(bench, kBenchCommands, &apps, &parsed);
  try {
    app.parse(RewriteShortNames(argc, argv));
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitDone : kExitUsage;
  }
  for (size_t i = 0; i < apps.size(); ++i) {
    if (apps[i]->parsed()) return parsed[i];
  }
  return kExitUsage;
}

}  // namespace pamir::cli
