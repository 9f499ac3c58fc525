#include "scenario/scenario.h"

#include <cstdlib>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace pamir::testing {
namespace {

std::string PrintRow(const flow::Row& row) {
  const char* wants = row.wants == flow::RowWants::kSample           ? "sample"
                      : row.wants == flow::RowWants::kPromptLogprobs ? "scores"
                                                                     : "nothing";
  return absl::StrCat("  row s", row.slot.value, " from=", row.from, " count=", row.count,
                      row.kind == flow::RowKind::kPrompt ? " prompt " : " emitted ", wants);
}

std::string PrintAdmission(const flow::Admission& a) {
  const size_t emitted = a.ids.size() - a.prompt_length;
  const std::string blocks =
      absl::StrJoin(a.blocks, ",", [](std::string* s, BlockId b) { absl::StrAppend(s, b.value); });
  return absl::StrCat("  admit s", a.slot.value, " ids=", a.prompt_length,
                      emitted > 0 ? absl::StrCat("+", emitted) : std::string(), " blocks=", blocks);
}

std::vector<std::string> PrintPlan(const flow::StepPlan& plan) {
  std::vector<std::string> out = {
      absl::StrCat("  plan epoch=", plan.epoch.value, " step=", plan.step.value)};
  for (const SlotId slot : plan.releases) out.push_back(absl::StrCat("  release s", slot.value));
  for (const flow::Admission& a : plan.admissions) out.push_back(PrintAdmission(a));
  for (const flow::AppendedBlock& a : plan.appended_blocks) {
    out.push_back(absl::StrCat("  append s", a.slot.value, " block=", a.block.value));
  }
  for (const flow::Row& row : plan.rows) out.push_back(PrintRow(row));
  return out;
}

std::string PrintEvent(const flow::TokenEvent& e) {
  std::string line = absl::StrCat("  event ", e.id.value, " #", e.index);
  if (e.has_token) absl::StrAppend(&line, " token=", e.token);
  if (e.finish != FinishReason::kNone) absl::StrAppend(&line, " finish=", Name(e.finish));
  if (e.deadline_exceeded) absl::StrAppend(&line, " deadline");
  if (!e.prompt_logprobs.empty()) {
    absl::StrAppend(&line, " scores=", absl::StrJoin(e.prompt_logprobs, ","));
  }
  if (!e.error.empty()) absl::StrAppend(&line, ": ", e.error);
  return line;
}

// What the device of a scenario gives: token 100 + p for position p, log-probability -p for the
// prompt's token at p; `chosen` ("s0=2") overrides the token of a slot.
flow::StepResult MakeResult(const flow::StepPlan& plan, const Command& chosen) {
  flow::StepResult result{.epoch = plan.epoch, .step = plan.step};
  for (const flow::Row& row : plan.rows) {
    const int32_t end = row.from + row.count;
    if (row.wants == flow::RowWants::kSample) {
      const int64_t token = chosen.Value(absl::StrCat("s", row.slot.value), 100 + end);
      result.sampled.push_back({.slot = row.slot, .token = static_cast<TokenId>(token)});
    } else if (row.wants == flow::RowWants::kPromptLogprobs) {
      flow::PromptLogprobs scores{.slot = row.slot, .from = row.from};
      for (int32_t p = row.from + 1; p <= end; ++p) scores.logprobs.push_back(-p);
      result.prompt_logprobs.push_back(std::move(scores));
    }
  }
  return result;
}

}  // namespace

int64_t Command::Number(size_t i, int64_t otherwise) const {
  return i < numbers.size() ? numbers[i] : otherwise;
}

int64_t Command::Value(const std::string& key, int64_t otherwise) const {
  const auto it = values.find(key);
  return it == values.end() ? otherwise : std::strtoll(it->second.c_str(), nullptr, 10);
}

std::vector<TokenId> Command::List(const std::string& key) const {
  std::vector<TokenId> list;
  const auto it = values.find(key);
  if (it == values.end()) return list;
  std::istringstream in(it->second);
  for (std::string item; std::getline(in, item, ',');) list.push_back(std::atoi(item.c_str()));
  return list;
}

Command ParseCommand(const std::string& line) {
  Command command;
  std::istringstream in(line);
  in >> command.name;
  for (std::string word; in >> word;) {
    const size_t equals = word.find('=');
    if (equals != std::string::npos) {
      command.values[word.substr(0, equals)] = word.substr(equals + 1);
    } else if (word.find_first_not_of("0123456789") == std::string::npos) {
      command.numbers.push_back(std::strtoll(word.c_str(), nullptr, 10));
    } else {
      command.values[word];
    }
  }
  return command;
}

std::vector<std::string> Scenario::Run(const Command& c) {
  Lines out;
  const SeqId id(c.Number(0, 0));
  if (c.name == "options") {
    SetOptions(c);
  } else if (scheduler_ == nullptr) {
    out.push_back("  error: the first command must be options");
  } else if (c.name == "arrive") {
    Arrive(c, &out);
  } else if (c.name == "step") {
    Step(&out);
  } else if (c.name == "done") {
    Done(c, &out);
  } else if (c.name == "drain") {
    Drain(&out);
  } else if (c.name == "cancel") {
    Apply(flow::Cancel{id}, &out);
  } else if (c.name == "stop") {
    Apply(flow::Stop{id, 0, static_cast<int32_t>(c.Value("index", 0))}, &out);
  } else if (c.name == "tick") {
    Apply(flow::Tick{absl::FromUnixSeconds(c.Number(0, 0))}, &out);
  } else if (c.name == "lost") {
    if (!out_.empty()) last_ = out_.back();
    out_.clear();
    Apply(flow::WorkerLost{0, "scenario"}, &out);
  } else if (c.name == "ready") {
    if (!out_.empty()) last_ = out_.back();
    out_.clear();
    Apply(flow::WorkerReady{Epoch(c.Number(0, 1))}, &out);
  } else if (c.name == "stats") {
    PrintStats(&out);
  } else {
    out.push_back(absl::StrCat("  error: unknown command ", c.name));
  }
  return out;
}

void Scenario::SetOptions(const Command& c) {
  sched::SchedulerOptions o;
  o.block_size = c.Value("block_size", 4);
  o.num_blocks = c.Value("blocks", 100);
  o.max_num_seqs = c.Value("seqs", 4);
  o.max_num_batched_tokens = c.Value("tokens", 100);
  o.max_model_len = c.Value("context", 100);
  o.max_waiting = c.Value("waiting", 100);
  o.max_waiting_tokens = c.Value("waiting_tokens", 1000);
  o.eos = c.Value("eos", 2);
  o.max_steps_in_flight = c.Value("in_flight", 1);
  scheduler_ = std::make_unique<sched::Scheduler>(o);
  rank_ = std::make_unique<FakeRank>(
      FakeRankOptions{.block_size = o.block_size,
                      .num_blocks = o.num_blocks,
                      .max_num_seqs = o.max_num_seqs,
                      .max_num_batched_tokens = o.max_num_batched_tokens});
}

void Scenario::Arrive(const Command& c, Lines* out) {
  flow::TokenRequest request;
  request.id = SeqId(c.Number(0, 0));
  for (int64_t i = 0; i < c.Value("prompt", 1); ++i) {
    request.prompt.push_back(static_cast<TokenId>(10 + i));
  }
  if (c.values.contains("ids")) request.prompt = c.List("ids");
  request.max_tokens = static_cast<int32_t>(c.Value("max", 16));
  request.stop_token_ids = c.List("stop_ids");
  request.ignore_eos = c.values.contains("ignore_eos");
  request.prompt_logprobs = c.values.contains("score");
  if (c.values.contains("deadline")) {
    request.deadline = absl::FromUnixSeconds(c.Value("deadline", 0));
  }
  Apply(flow::Arrive{std::move(request)}, out);
}

void Scenario::Step(Lines* out) {
  auto plan = scheduler_->PlanStep();
  if (!plan) {
    out->push_back("  no plan");
    return;
  }
  *out = PrintPlan(*plan);
  if (const auto judged = rank_->Step(*plan); !judged.ok()) {
    out->push_back(absl::StrCat("  error: ", std::string(judged.status().message())));
  }
  out_.push_back(*std::move(plan));
}

void Scenario::Done(const Command& c, Lines* out) {
  const bool as_planned = !c.values.contains("epoch") && !c.values.contains("step");
  if (!out_.empty()) last_ = out_.front();
  if (!out_.empty() && as_planned) out_.pop_front();
  if (!last_) {
    out->push_back("  error: no step was planned");
    return;
  }
  flow::StepResult result = MakeResult(*last_, c);
  result.epoch = Epoch(c.Value("epoch", last_->epoch.value));
  result.step = StepId(c.Value("step", last_->step.value));
  Apply(flow::StepDone{std::move(result)}, out);
}

void Scenario::Drain(Lines* out) {
  for (int steps = 0; steps < 1000; ++steps) {
    Lines ignored;
    Step(&ignored);
    if (ignored.front() == "  no plan" && out_.empty()) return;
    if (ignored.back().rfind("  error", 0) == 0) out->push_back(ignored.back());
    Done(Command{}, out);
  }
  out->push_back("  error: not drained after 1000 steps");
}

void Scenario::Apply(flow::Event event, Lines* out) {
  const absl::Status status = scheduler_->Apply(std::move(event));
  if (!status.ok()) {
    out->push_back(absl::StrCat("  refused ", absl::StatusCodeToString(status.code()), ": ",
                                std::string(status.message())));
  }
  PrintEvents(out);
}

void Scenario::PrintEvents(Lines* out) {
  for (const flow::TokenEvent& event : scheduler_->TakeEvents()) out->push_back(PrintEvent(event));
}

void Scenario::PrintStats(Lines* out) {
  const sched::SchedulerStats s = scheduler_->Stats();
  out->push_back(absl::StrCat("  running=", s.running, " waiting=", s.waiting,
                              " waiting_tokens=", s.waiting_tokens, " free=", s.blocks_free, "/",
                              s.blocks_total, " finished=", s.requests_finished,
                              " tokens=", s.tokens_generated, " preemptions=", s.preemptions));
}

}  // namespace pamir::testing
