#include "sim/simulation.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "sim/sim_worker.h"

namespace pamir::sim {
namespace {

using testing::FakeRequest;
using Phase = coordinator::Core::Phase;

constexpr absl::Duration kLongestRun = absl::Hours(1);
constexpr absl::Duration kArrivalsWithin = absl::Seconds(2);

class World final : public wire::Links {
 public:
  explicit World(const SimOptions& options);
  SimReport Run();

 private:
  struct Client {
    flow::TokenRequest request;
    std::shared_ptr<testing::CollectingSink> sink;
    bool taken = false, refused = false;
  };

  // wire::Links
  void Send(wire::LinkId link, const wire::ToWorker& message) override;
  void SendToAll(const std::vector<wire::LinkId>& links, const wire::ToWorker& message) override;
  void Close(wire::LinkId link, const absl::Status& why) override;

  void AddWorker(int index);
  void Happen(coordinator::Input input);
  void Tick();
  void PlanClient(int index);
  void PlanDeath();
  void Arrive(int index);
  bool AllClientsDone() const;
  void Judge();
  void JudgeStream(const Client& client);
  void Note(const std::string& bytes);

  const SimOptions options_;
  Timeline timeline_;
  coordinator::CoordinatorOptions cluster_;
  coordinator::Admission admission_;
  coordinator::Core core_;
  std::map<wire::LinkId, std::unique_ptr<SimWorker>> workers_;
  std::map<wire::LinkId, std::unique_ptr<Pipe>> up_, down_;
  std::vector<Client> clients_;
  bool drained_ = false;
  SimReport report_;
};

coordinator::CoordinatorOptions ClusterOptions(const SimOptions& options) {
  auto cluster = testing::FakeCoordinatorOptions(options.tp, options.pp);
  cluster.load.plan.limits.num_blocks = options.num_blocks;
  cluster.load.plan.limits.max_model_len = options.num_blocks * cluster.load.plan.limits.block_size;
  cluster.max_waiting = 8;
  return cluster;
}

World::World(const SimOptions& options)
    : options_(options),
      timeline_(options.seed),
      cluster_(ClusterOptions(options)),
      admission_(cluster_),
      core_(cluster_, this, &admission_, timeline_.now()) {}

// FNV-1a over time and bytes.
void World::Note(const std::string& bytes) {
  uint64_t hash = report_.fingerprint == 0 ? 14695981039346656037u : report_.fingerprint;
  const auto mix = [&hash](uint64_t value) { hash = (hash ^ value) * 1099511628211u; };
  mix(static_cast<uint64_t>(absl::ToUnixNanos(timeline_.now())));
  for (const char c : bytes) mix(static_cast<unsigned char>(c));
  report_.fingerprint = hash;
  ++report_.messages;
}

void World::AddWorker(int index) {
  const wire::LinkId link(index + 1);
  up_[link] = std::make_unique<Pipe>(&timeline_, [this, link](std::string bytes) {
    Note(bytes);
    auto message = wire::DecodeFromWorker(bytes);
    PAMIR_CHECK(message.ok(), message.status().ToString());
    if (auto* join = std::get_if<wire::Join>(&*message)) {
      Happen(coordinator::Joined{link, std::move(*join)});
    } else {
      Happen(coordinator::FromLink{link, *std::move(message)});
    }
  });
  down_[link] = std::make_unique<Pipe>(&timeline_, [this, link](std::string bytes) {
    Note(bytes);
    auto message = wire::DecodeToWorker(bytes);
    PAMIR_CHECK(message.ok(), message.status().ToString());
    workers_[link]->OnMessage(*std::move(message));
  });
  workers_[link] = std::make_unique<SimWorker>(
      &timeline_, index,
      [this, link](const wire::FromWorker& m) { up_[link]->Send(wire::Encode(m)); },
      [this, link](const std::string& why) {
        // The end of a stream comes behind what was sent on it.
        timeline_.After(absl::Milliseconds(20), [this, link, why] {
          up_[link]->Cut();
          Happen(coordinator::LinkGone{link, absl::UnavailableError(why)});
        });
      });
}

void World::Send(wire::LinkId link, const wire::ToWorker& message) {
  down_[link]->Send(wire::Encode(message));
}
void World::SendToAll(const std::vector<wire::LinkId>& links, const wire::ToWorker& message) {
  for (const wire::LinkId link : links) Send(link, message);
}
void World::Close(wire::LinkId link, const absl::Status&) { workers_[link]->Die("closed"); }

void World::Happen(coordinator::Input input) {
  if (core_.phase() == Phase::kEnded) return;
  core_.Handle(std::move(input), timeline_.now());
  core_.Proceed(timeline_.now());
}

void World::Tick() {
  if (core_.phase() == Phase::kEnded) return;
  core_.Proceed(timeline_.now());
  if (!drained_ && AllClientsDone()) {
    drained_ = true;
    Happen(coordinator::DrainOrder{});
  }
  timeline_.After(core_.TickInterval(), [this] { Tick(); });
}

void World::PlanClient(int index) {
  Client client;
  std::vector<TokenId> prompt{2};
  for (uint64_t n = timeline_.Below(60); n > 0; --n) {
    prompt.push_back(static_cast<TokenId>(timeline_.Below(testing::kFakeVocab)));
  }
  client.request =
      FakeRequest(1 + index, std::move(prompt), static_cast<int32_t>(1 + timeline_.Below(120)));
  client.sink = std::make_shared<testing::CollectingSink>();
  const absl::Time arrival = timeline_.now() + absl::Seconds(1) + timeline_.Delay(kArrivalsWithin);
  if (timeline_.Below(8) == 0) {
    client.request.deadline = arrival + timeline_.Delay(absl::Milliseconds(300));
  }
  const SeqId id = client.request.id;
  if (timeline_.Below(6) == 0) {
    timeline_.At(arrival + timeline_.Delay(absl::Milliseconds(300)), [this, id] {
      if (admission_.FirstCancel(id)) Happen(flow::Cancel{id});
    });
  }
  clients_.push_back(std::move(client));
  timeline_.At(arrival, [this, index] { Arrive(index); });
}

void World::Arrive(int index) {
  Client& client = clients_[index];
  const absl::Status status = admission_.Admit(client.request);
  client.taken = status.ok();
  client.refused = !status.ok();
  if (client.taken) Happen(coordinator::Submitted{client.request, client.sink});
}

void World::PlanDeath() {
  const wire::LinkId victim(1 + timeline_.Below(static_cast<uint64_t>(options_.tp * options_.pp)));
  timeline_.After(absl::Seconds(1) + timeline_.Delay(kArrivalsWithin), [this, victim] {
    report_.killed = absl::StrCat("rank ", workers_[victim]->rank());
    down_[victim]->Cut();
    workers_[victim]->Die("killed");
  });
}

bool World::AllClientsDone() const {
  return std::all_of(clients_.begin(), clients_.end(), [](const Client& client) {
    return client.refused || (client.taken && client.sink->finishes() > 0);
  });
}

SimReport World::Run() {
  for (int i = 0; i < options_.tp * options_.pp; ++i) AddWorker(i);
  for (int i = 0; i < options_.requests; ++i) PlanClient(i);
  if (options_.kill_a_rank) PlanDeath();
  Tick();
  const absl::Time give_up = timeline_.now() + kLongestRun;
  while (core_.phase() != Phase::kEnded && timeline_.now() < give_up && timeline_.Step()) {
  }
  if (core_.phase() != Phase::kEnded) report_.wrong.push_back("the cluster did not end");
  report_.ended = core_.status();
  report_.preemptions = core_.Stats().preemptions;
  Judge();
  return std::move(report_);
}

void World::Judge() {
  for (const Client& client : clients_) {
    if (client.refused) ++report_.refused;
    if (client.taken) JudgeStream(client);
  }
  for (const auto& [link, worker] : workers_) {
    if (!worker->error().empty()) report_.wrong.push_back(worker->error());
  }
}

// A stream is what it is alone, as far as it goes, and ends once.
void World::JudgeStream(const Client& client) {
  const std::string name = absl::StrCat("request ", client.request.id.value, ": ");
  if (client.sink->finishes() != 1) {
    report_.wrong.push_back(absl::StrCat(name, client.sink->finishes(), " ends"));
    return;
  }
  const flow::TokenEvent last = client.sink->WaitUntilDone();
  std::vector<TokenId> alone = testing::StreamAlone(client.request);
  const std::vector<TokenId> got = client.sink->tokens();
  if (last.finish == FinishReason::kLength) {
    ++report_.finished;
  } else {
    last.finish == FinishReason::kCancelled ? ++report_.cancelled : ++report_.failed;
    alone.resize(std::min(alone.size(), got.size()));
  }
  if (got != alone) report_.wrong.push_back(name + "not the stream that it gives alone");
  for (const TokenId token : got) Note(absl::StrCat(token));
}

}  // namespace

bool Timeline::Step() {
  if (events_.empty()) return false;
  const Event event = events_.top();
  events_.pop();
  now_ = event.when;
  event.what();
  return true;
}

void Pipe::Send(const wire::Frame& frame) {
  constexpr absl::Duration kMostOfTheTime = absl::Milliseconds(1),
                           kNowAndThen = absl::Milliseconds(15);
  const bool slow = timeline_->Below(20) == 0;
  last_ = std::max(last_, timeline_->now() + timeline_->Delay(slow ? kNowAndThen : kMostOfTheTime));
  timeline_->At(last_, [deliver = deliver_, open = open_, bytes = *frame] {
    if (*open) deliver(bytes);
  });
}

SimReport RunSimulation(const SimOptions& options) { return World(options).Run(); }

}  // namespace pamir::sim
