#include "bench/report.h"

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "base/units.h"
#include "nlohmann/json.hpp"

namespace pamir::bench {
namespace {

constexpr char kHead[] = "%-8s %5s %8s %10s %7s %10s %11s %10s %8s %15s\n";
constexpr char kRow[] = "%-8s %5d %8d %10.3f %6.1f%% %10s %11s %10.1f %8s %15.3f\n";

std::string Number(double value, int digits) {
  if (value <= 0) return "-";
  char text[32];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

double FloorShare(const BenchRow& row) {
  return row.timing.ms > 0 ? row.floor_ms / row.timing.ms : 0;
}

std::string WeightsOf(const BenchReport& report) {
  if (!report.dummy_density) return "a checkpoint's weights (floors count all of them)";
  return absl::StrCat("dummy weights, ", Number(100 * *report.dummy_density, 1),
                      " % of the neurons active");
}

std::string HeadOf(const BenchReport& report) {
  const std::string cores =
      report.threads > 0 ? absl::StrCat(" (", report.threads, " threads)") : "";
  std::string head = absl::StrCat(report.model, " on ", report.device, cores, ": ", report.dtype,
                                  ", KV cache in ", report.kv_cache_dtype, ", relu-skip ",
                                  report.relu_skip, ", ", WeightsOf(report), "\n");
  absl::StrAppend(&head, HumanBytes(report.weight_bytes), " of weights, ",
                  HumanBytes(report.kv_bytes), " of KV cache, ", HumanBytes(report.buffer_bytes),
                  " of buffers; ", report.graphs, " graphs\n", "loaded in ",
                  Number(report.load_s, 2), " s; start to first token ",
                  Number(report.first_token_s, 2), " s\n");
  absl::StrAppend(&head, "limits in this run: ", Number(report.limits.read_bytes_per_s / 1e9, 1),
                  " GB/s of memory that is only read");
  if (report.limits.product_size > 0) {
    absl::StrAppend(&head, ", ", Number(report.limits.operations_per_s / 1e12, 1),
                    " TFLOP/s in a product of ", report.limits.product_size, " cubed");
  }
  absl::StrAppend(&head,
                  "\ndecode: contexts were not computed (the KV cache holds zeros) and grow by one "
                  "a step; ",
                  report.greedy ? "greedy" : "batches of several are sampled at temperature 1",
                  "\n\n");
  return head;
}

nlohmann::ordered_json JsonOfRow(const BenchRow& row) {
  nlohmann::ordered_json out;
  out["work"] = row.work;
  out["batch"] = row.batch;
  out["context"] = row.context;
  out["ms"] = row.timing.ms;
  out["spread"] = row.timing.spread;
  if (row.floor_ms > 0) {
    out["floor_ms"] = row.floor_ms;
    out["floor_share"] = FloorShare(row);
  }
  out["tokens_per_s"] = row.tokens_per_s;
  if (row.operations_per_s > 0) out["tflops"] = row.operations_per_s / 1e12;
  out["alone_ms"] = row.timing.alone_ms;
  return out;
}

}  // namespace

std::string TextOf(const BenchReport& report) {
  char line[256];
  std::snprintf(line, sizeof line, kHead, "work", "batch", "context", "ms", "spread", "floor ms",
                "floor/time", "tokens/s", "TFLOP/s", "one at a time");
  std::string text = HeadOf(report) + line;
  for (const BenchRow& row : report.rows) {
    std::snprintf(line, sizeof line, kRow, row.work.c_str(), row.batch, row.context, row.timing.ms,
                  100 * row.timing.spread, Number(row.floor_ms, 3).c_str(),
                  Number(FloorShare(row), 3).c_str(), row.tokens_per_s,
                  Number(row.operations_per_s / 1e12, 1).c_str(), row.timing.alone_ms);
    text += line;
  }
  return text;
}

std::string JsonOf(const BenchReport& report) {
  nlohmann::ordered_json out;
  out["model"] = report.model;
  out["device"] = report.device;
  out["dtype"] = report.dtype;
  out["kv_cache_dtype"] = report.kv_cache_dtype;
  out["relu_skip"] = report.relu_skip;
  out["dummy_weights"] = report.dummy_density.has_value();
  if (report.dummy_density) out["dummy_relu_density"] = *report.dummy_density;
  out["greedy"] = report.greedy;
  if (report.threads > 0) out["threads"] = report.threads;
  out["read_gb_per_s"] = report.limits.read_bytes_per_s / 1e9;
  if (report.limits.product_size > 0) {
    out["product_size"] = report.limits.product_size;
    out["product_tflops"] = report.limits.operations_per_s / 1e12;
  }
  out["load_s"] = report.load_s;
  out["first_token_s"] = report.first_token_s;
  out["weight_bytes"] = report.weight_bytes;
  out["kv_bytes"] = report.kv_bytes;
  out["buffer_bytes"] = report.buffer_bytes;
  out["graphs"] = report.graphs;
  out["rows"] = nlohmann::ordered_json::array();
  for (const BenchRow& row : report.rows) out["rows"].push_back(JsonOfRow(row));
  return out.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace pamir::bench
