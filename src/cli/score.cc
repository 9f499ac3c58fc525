#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <thread>
#include <vector>

#include "cli/client_commands.h"
#include "nlohmann/json.hpp"

namespace pamir::cli {
namespace {

constexpr int kRequestsAtOnce = 4;

struct Scores {
  std::vector<int32_t> ids;
  std::vector<double> logprobs;  // of ids[1..]
};

// Window k feeds ids kW .. kW + W - 1 at positions 0 .. W - 1 and scores ids kW + 1 .. kW + W.
Result<Scores> ScoreWindows(const Client& client, std::vector<int32_t> ids, int window,
                            const CallOptions& options) {
  const size_t step = window == 0 ? ids.size() : static_cast<size_t>(window);
  const size_t scored = ids.size() - 1;
  const size_t windows = (scored + step - 1) / step;
  std::vector<Result<ScoreResult>> parts(windows);
  std::atomic<size_t> next = 0, done = 0;
  std::atomic<bool> failed = false;
  const auto work = [&] {
    for (size_t k = next++; k < windows && !failed; k = next++) {
      const size_t begin = k * step, end = std::min(ids.size(), begin + step + 1);
      parts[k] = client.ScoreIds({ids.begin() + begin, ids.begin() + end}, options);
      if (!parts[k].ok()) failed = true;
      std::fprintf(stderr, "\rscored %zu of %zu windows", ++done, windows);
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < kRequestsAtOnce; ++i) threads.emplace_back(work);
  for (std::thread& thread : threads) thread.join();
  std::fprintf(stderr, "\n");

  Result<Scores> all;
  all.value.ids = std::move(ids);
  for (const Result<ScoreResult>& part : parts) {
    if (!part.ok()) {
      all.error = part.error;
      return all;
    }
    all.value.logprobs.insert(all.value.logprobs.end(), part.value.logprobs.begin(),
                              part.value.logprobs.end());
  }
  return all;
}

void Print(const Scores& scores, bool json) {
  double nll = 0;
  for (const double logprob : scores.logprobs) nll -= logprob;
  const size_t tokens = scores.logprobs.size();
  const double mean = tokens == 0 ? 0 : nll / static_cast<double>(tokens);
  if (!json) {
    std::printf("tokens      %zu\nnll/token   %.6f\nperplexity  %.4f\n", tokens, mean,
                std::exp(mean));
    return;
  }
  nlohmann::ordered_json out;
  out["tokens"] = tokens;
  out["nll_per_token"] = mean;
  out["perplexity"] = std::exp(mean);
  out["token_ids"] = scores.ids;
  out["logprobs"] = {nullptr};
  for (const double logprob : scores.logprobs) out["logprobs"].push_back(logprob);
  std::cout << out.dump() << std::endl;
}

}  // namespace

int RunScore(const ScoreFlags& flags) {
  std::string text = flags.text;
  if (!flags.file.empty()) {
    std::optional<std::string> read = ReadFileOrPrint(flags.file);
    if (!read) return kExitFailed;
    text = *std::move(read);
  }
  const std::optional<Client> client = ConnectOrPrint(flags.client);
  if (!client) return kExitFailed;
  const CallOptions options = OptionsOf(flags.client);
  Result<std::vector<int32_t>> ids = client->Tokenize(text, /*add_bos=*/true, options);
  if (!ids.ok()) return PrintError(ids.error);
  if (ids.value.size() < 2) {
    std::fprintf(stderr, "pamir: there is nothing to score: give --text or --file\n");
    return kExitFailed;
  }
  const Result<Scores> scores = ScoreWindows(*client, std::move(ids.value), flags.window, options);
  if (!scores.ok()) return PrintError(scores.error);
  Print(scores.value, flags.client.json);
  return kExitDone;
}

}  // namespace pamir::cli
