// Connecting: which transport a group gets, and what is refused.
#include <dirent.h>
#include <unistd.h>

#include <thread>

#include "engine/comm/connect_blobs.h"
#include "engine/comm/host_identity.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "unit/comm/rank_harness.h"

namespace pamir::comm {
namespace {

using ::testing::HasSubstr;

using Alter = std::function<std::string(int rank, int round, std::string bytes)>;

// Connects all ranks as threads; `alter` changes what a rank sends in a round of the exchange.
std::vector<absl::StatusOr<Groups>> ConnectAll(std::vector<GroupOptions> options,
                                               const Alter& alter = nullptr) {
  const auto exchanges = ThreadExchange(static_cast<int>(options.size()));
  std::vector<absl::StatusOr<Groups>> results(options.size());
  std::vector<std::thread> threads;
  for (size_t r = 0; r < options.size(); ++r) {
    threads.emplace_back([&, r] {
      int round = 0;
      results[r] = ConnectGroups(options[r], [&](const std::string& mine) {
        const int rank = static_cast<int>(r);
        return exchanges[r](alter == nullptr ? mine : alter(rank, round++, mine));
      });
    });
  }
  for (std::thread& thread : threads) thread.join();
  return results;
}

std::vector<GroupOptions> Options(int n, Transport transport = Transport::kAuto) {
  std::vector<GroupOptions> all(static_cast<size_t>(n));
  for (int r = 0; r < n; ++r) {
    GroupOptions& options = all[static_cast<size_t>(r)];
    options.world_rank = r;
    options.stage_of_rank.assign(static_cast<size_t>(n), 0);
    options.transport = transport;
    options.max_message_bytes = 4096;
    options.timeout = absl::Seconds(20);
  }
  return all;
}

void ExpectAllRefused(const std::vector<absl::StatusOr<Groups>>& results, absl::StatusCode code,
                      const std::string& words) {
  for (const auto& result : results) {
    EXPECT_EQ(result.status().code(), code) << result.status();
    EXPECT_THAT(std::string(result.status().message()), HasSubstr(words));
  }
}

// Rewrites rank 1's greeting.
Alter Rank1Says(const std::function<void(Hello&)>& change) {
  return [change](int rank, int round, std::string bytes) {
    if (rank != 1 || round != 0) return bytes;
    Hello hello = *DecodeHello(*DecodeEnvelope(bytes));
    change(hello);
    return EncodeEnvelope(Encode(hello));
  };
}

TEST(Connect, OneHostGetsSharedMemory) {
  for (const auto& groups : ConnectAll(Options(2))) {
    ASSERT_TRUE(groups.ok()) << groups.status();
    EXPECT_STREQ(groups->world->transport(), "shm");
    EXPECT_STREQ(groups->stage->transport(), "shm");
  }
}

TEST(Connect, NoSharedMemoryButOneLoopbackGetsGloo) {
  const auto results = ConnectAll(Options(2), Rank1Says([](Hello& h) { h.host = "elsewhere"; }));
  for (const auto& groups : results) {
    ASSERT_TRUE(groups.ok()) << groups.status();
    EXPECT_STREQ(groups->world->transport(), "gloo");
  }
}

TEST(Connect, GroupsDecideEachForThemselves) {
  std::vector<GroupOptions> options = Options(3);
  for (GroupOptions& o : options) o.stage_of_rank = {0, 1, 0};
  const auto results = ConnectAll(options, Rank1Says([](Hello& h) { h.host = "elsewhere"; }));
  const std::vector<std::string> stage = {"shm", "none", "shm"};
  for (size_t r = 0; r < 3; ++r) {
    ASSERT_TRUE(results[r].ok()) << results[r].status();
    EXPECT_EQ(results[r]->stage->transport(), stage[r]);
    EXPECT_STREQ(results[r]->world->transport(), "gloo");
  }
}

TEST(Connect, AnotherHostWithoutADataInterfaceIsRefused) {
  const auto results =
      ConnectAll(Options(2), Rank1Says([](Hello& h) { h.host = h.loopback = "another machine"; }));
  ExpectAllRefused(results, absl::StatusCode::kInvalidArgument, "--data-interface");
}

TEST(Connect, SharedMemoryThatCannotBeIsRefused) {
  const auto results =
      ConnectAll(Options(2, Transport::kShm), Rank1Says([](Hello& h) { h.host = "elsewhere"; }));
  ExpectAllRefused(results, absl::StatusCode::kInvalidArgument,
                   "rank 0 and rank 1 share no memory");
}

TEST(Connect, AnUnknownInterfaceIsRefusedWithThoseThereAre) {
  std::vector<GroupOptions> options = Options(2, Transport::kGloo);
  options[1].data_interface = "nosuch0";
  ExpectAllRefused(ConnectAll(options), absl::StatusCode::kInvalidArgument,
                   "nosuch0: no interface of this name");
  ExpectAllRefused(ConnectAll(options), absl::StatusCode::kInvalidArgument, "lo");
}

TEST(Connect, TheLoopbackInterfaceByName) {
  std::vector<GroupOptions> options = Options(2, Transport::kGloo);
  for (GroupOptions& o : options) o.data_interface = "lo";
  for (const auto& groups : ConnectAll(options)) EXPECT_TRUE(groups.ok()) << groups.status();
}

TEST(Connect, RanksWithOtherOptionsAreRefused) {
  const std::vector<std::function<void(Hello&)>> changes = {
      [](Hello& h) { h.max_message_bytes = 1; },
      [](Hello& h) { h.transport = Transport::kShm; },
      [](Hello& h) { h.world_rank = 0; },
      [](Hello& h) {
        h.stage_of_rank = {0, 1};
      },
      [](Hello& h) { h.stage_of_rank.push_back(0); },
  };
  for (const auto& change : changes) {
    ExpectAllRefused(ConnectAll(Options(2), Rank1Says(change)), absl::StatusCode::kInvalidArgument,
                     "rank");
  }
}

TEST(Connect, OneRanksBadOptionsAreToldToAll) {
  const std::vector<std::function<void(GroupOptions&)>> mistakes = {
      [](GroupOptions& o) { o.max_message_bytes = 0; },
      [](GroupOptions& o) { o.world_rank = 2; },
      [](GroupOptions& o) { o.timeout = absl::ZeroDuration(); },
      [](GroupOptions& o) { o.stage_of_rank.clear(); },
  };
  for (const auto& mistake : mistakes) {
    std::vector<GroupOptions> options = Options(2);
    mistake(options[1]);
    ExpectAllRefused(ConnectAll(options), absl::StatusCode::kInvalidArgument, "");
  }
}

TEST(Connect, MalformedStringsAreRefused) {
  const std::vector<std::string> junk = {"", "x", std::string(1000, '\xff'),
                                         EncodeEnvelope(std::string("junk")),
                                         EncodeEnvelope(std::string())};
  for (int round : {0, 1}) {
    for (const std::string& bytes : junk) {
      const auto results = ConnectAll(Options(2), [&](int rank, int now, std::string mine) {
        return rank == 1 && now == round ? bytes : mine;
      });
      ExpectAllRefused(results, absl::StatusCode::kInvalidArgument, "malformed");
    }
  }
}

TEST(Connect, AFalseMeetingPlaceIsRefused) {
  for (int fd : {-1, 0, 987'654}) {
    const auto results = ConnectAll(Options(2), [&](int rank, int round, std::string mine) {
      if (rank != 0 || round != 1) return mine;
      Offer offer = *DecodeOffer(*DecodeEnvelope(mine));
      offer.world.segment_fd = fd;
      return EncodeEnvelope(Encode(offer));
    });
    for (const auto& result : results) EXPECT_FALSE(result.ok()) << fd;
  }
  const auto results =
      ConnectAll(Options(2, Transport::kGloo), [&](int rank, int round, std::string mine) {
        if (rank != 0 || round != 1) return mine;
        Offer offer = *DecodeOffer(*DecodeEnvelope(mine));
        offer.world.addresses[1].resize(3);
        return EncodeEnvelope(Encode(offer));
      });
  ExpectAllRefused(results, absl::StatusCode::kInvalidArgument, "no usable address");
}

TEST(Connect, AnErrorOfTheExchangeIsReturned) {
  const auto groups = ConnectGroups(Options(2)[0], [](const std::string&) {
    return absl::StatusOr<std::vector<std::string>>(absl::DeadlineExceededError("rank 1 is late"));
  });
  EXPECT_EQ(groups.status(), absl::DeadlineExceededError("rank 1 is late"));
}

int OpenSegments() {
  int count = 0;
  DIR* folder = opendir("/proc/self/fd");
  while (const dirent* entry = readdir(folder)) {
    char target[256] = {};
    const std::string path = std::string("/proc/self/fd/") + entry->d_name;
    if (readlink(path.c_str(), target, sizeof(target) - 1) <= 0) continue;
    if (std::string(target).find("pamir-comm") != std::string::npos) ++count;
  }
  closedir(folder);
  return count;
}

TEST(Connect, NothingCanOpenTheSharedMemoryOnceAllHaveMappedIt) {
  const auto results = ConnectAll(Options(3));
  for (const auto& groups : results) ASSERT_TRUE(groups.ok());
  EXPECT_EQ(OpenSegments(), 0);
}

TEST(Connect, AWorldOfOne) {
  GroupOptions options = Options(1)[0];
  const auto groups = ConnectAll({options});
  ASSERT_TRUE(groups[0].ok()) << groups[0].status();
  Communicator& world = *groups[0]->world;
  float x = 3.5f, y = 0;
  EXPECT_TRUE(world.AllReduce(&x, 1, {}).ok());
  EXPECT_TRUE(world.Gather(0, &x, {1}, &y, {}).ok());
  EXPECT_TRUE(world.Broadcast(0, &x, 4, {}).ok());
  EXPECT_EQ(x, 3.5f);
  EXPECT_EQ(y, 3.5f);
  EXPECT_EQ(world.Send(0, &x, 4, {}).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(world.AllReduce(&x, 1, {}).code(), absl::StatusCode::kInvalidArgument);
}

TEST(HostIdentity, SaysHowFarSharedMemoryAndLoopbackReach) {
  EXPECT_THAT(HostIdentity(), HasSubstr(LoopbackIdentity()));
  EXPECT_THAT(LoopbackIdentity(), HasSubstr("net:["));
  EXPECT_THAT(HostIdentity(), HasSubstr("pid:["));
  EXPECT_LT(HostIdentity().size(), kMaxIdentityBytes);
}

TEST(Blobs, EveryCutAndEveryExtraByteIsRefused) {
  Hello hello;
  hello.pid = 17;
  hello.host = "host";
  hello.stage_of_rank = {0, 0, 1};
  Offer offer;
  offer.stage.segment_fd = 5;
  offer.world.addresses = {"", "abc"};
  const std::string a = Encode(hello), b = Encode(offer);
  EXPECT_EQ(DecodeHello(a)->stage_of_rank, hello.stage_of_rank);
  EXPECT_EQ(DecodeOffer(b)->world.addresses, offer.world.addresses);
  for (size_t n = 0; n < a.size(); ++n) EXPECT_FALSE(DecodeHello(a.substr(0, n)).ok()) << n;
  for (size_t n = 0; n < b.size(); ++n) EXPECT_FALSE(DecodeOffer(b.substr(0, n)).ok()) << n;
  EXPECT_FALSE(DecodeHello(a + "x").ok());
  EXPECT_FALSE(DecodeOffer(b + "x").ok());
}

TEST(Blobs, AnEnvelopeCarriesAnErrorToo) {
  EXPECT_EQ(*DecodeEnvelope(EncodeEnvelope(std::string("payload"))), "payload");
  EXPECT_EQ(DecodeEnvelope(EncodeEnvelope(absl::NotFoundError("why"))).status(),
            absl::NotFoundError("why"));
}

}  // namespace
}  // namespace pamir::comm
