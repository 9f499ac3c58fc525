// Both ends of the control plane over real gRPC.
#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/wake_queue.h"
#include "cluster/wire/client_stream.h"
#include "cluster/wire/control_client.h"
#include "cluster/wire/control_server.h"
#include "cluster/wire/convert.h"
#include "unit/wire/test_certificates.h"

namespace pamir::wire {
namespace {

using ::testing::HasSubstr;

constexpr absl::Duration kLong = absl::Seconds(20);

struct ServerEvent {
  enum Kind { kJoin, kMessage, kGone } kind;
  LinkId link;
  FromWorker message;
  absl::Status reason;
};

// Keeps what happened, in order.
class ServerHandler final : public LinkHandler {
 public:
  void OnJoin(LinkId link, Join join) override {
    Push({ServerEvent::kJoin, link, std::move(join), {}});
  }
  void OnMessage(LinkId link, FromWorker message) override {
    Push({ServerEvent::kMessage, link, std::move(message), {}});
  }
  void OnGone(LinkId link, absl::Status reason) override {
    Push({ServerEvent::kGone, link, {}, std::move(reason)});
  }
  // The next event; fails the test where none comes.
  ServerEvent Next() {
    while (ready_.empty()) {
      ready_ = queue_.PopAll(kLong, absl::ZeroDuration());
      if (ready_.empty()) {
        ADD_FAILURE() << "nothing happened at the server";
        return {};
      }
    }
    ServerEvent event = std::move(ready_.front());
    ready_.pop_front();
    return event;
  }

 private:
  void Push(ServerEvent event) { ASSERT_TRUE(queue_.TryPush(std::move(event))); }
  WakeQueue<ServerEvent> queue_{10000};
  std::deque<ServerEvent> ready_;
};

class ClientHandler final : public CoordinatorLinkHandler {
 public:
  void OnMessage(ToWorker message) override {
    absl::MutexLock lock(&mutex_);
    messages_.push_back(std::move(message));
  }
  void OnGone(absl::Status reason) override {
    absl::MutexLock lock(&mutex_);
    gone_ = true;
    reason_ = std::move(reason);
  }
  std::vector<ToWorker> WaitForMessages(size_t count) {
    absl::MutexLock lock(&mutex_);
    const auto enough = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return messages_.size() >= count || gone_;
    };
    mutex_.AwaitWithTimeout(absl::Condition(&enough), kLong);
    return messages_;
  }
  bool gone() {
    absl::MutexLock lock(&mutex_);
    return gone_;
  }
  absl::Status WaitUntilGone() {
    absl::MutexLock lock(&mutex_);
    EXPECT_TRUE(mutex_.AwaitWithTimeout(absl::Condition(&gone_), kLong));
    return reason_;
  }

 private:
  absl::Mutex mutex_;
  std::vector<ToWorker> messages_ ABSL_GUARDED_BY(mutex_);
  bool gone_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status reason_ ABSL_GUARDED_BY(mutex_);
};

std::unique_ptr<ControlServer> MustListen(const ListenOptions& options, LinkHandler* handler) {
  auto server = ControlServer::Start(options, handler);
  EXPECT_TRUE(server.ok()) << server.status();
  return server.ok() ? *std::move(server) : nullptr;
}

std::unique_ptr<CoordinatorLink> MustConnect(const ConnectOptions& options,
                                             CoordinatorLinkHandler* handler) {
  auto link = ConnectToCoordinator(options, handler);
  EXPECT_TRUE(link.ok()) << link.status();
  return link.ok() ? *std::move(link) : nullptr;
}

TEST(ControlTest, AnAnswerThatComesTooLateIsNotHeardOf) {
  ServerHandler server_handler;
  auto server = MustListen({}, &server_handler);
  ClientHandler handler;
  auto channel = grpc::CreateChannel(server->address(), grpc::InsecureChannelCredentials());
  ClientStream stream(channel, &handler);
  const bool in_time = stream.WaitUntilConnected(absl::ZeroDuration()).ok();
  EXPECT_TRUE(stream.Send(Encode(FromWorker(Join{}))));
  server->Close(server_handler.Next().link, absl::AbortedError("over"));
  stream.Close(kLong);
  EXPECT_EQ(handler.gone(), in_time) << "the next attempt would take this for its own end";
}

// Join, one message each way, a clean end by the worker.
void TalkBothWays(const ListenOptions& listen, ConnectOptions connect) {
  ServerHandler at_server;
  ClientHandler at_client;
  auto server = MustListen(listen, &at_server);
  connect.address = server->address();
  auto link = MustConnect(connect, &at_client);
  ASSERT_TRUE(link->Send(Join{.build_id = "b", .pid = 7, .token = listen.token}));
  ServerEvent event = at_server.Next();
  ASSERT_EQ(event.kind, ServerEvent::kJoin);
  EXPECT_EQ(std::get<Join>(event.message).pid, 7);
  EXPECT_EQ(std::get<Join>(event.message).token, "");  // no need to hand it on
  server->Send(event.link, Welcome{Epoch(1), 0, 1});
  EXPECT_EQ(at_client.WaitForMessages(1).size(), 1u);
  ASSERT_TRUE(link->Send(Drained{}));
  event = at_server.Next();
  EXPECT_EQ(event.kind, ServerEvent::kMessage);
  EXPECT_TRUE(std::holds_alternative<Drained>(event.message));
  link->Close(kLong);
  EXPECT_EQ(at_server.Next().kind, ServerEvent::kGone);
  EXPECT_FALSE(link->Send(Drained{}));
}

TEST(ControlTest, OverTcp) { TalkBothWays({}, {}); }

TEST(ControlTest, OverAUnixSocket) {
  TalkBothWays({.address = absl::StrCat("unix:", ::testing::TempDir(), "/w", getpid())}, {});
}

TEST(ControlTest, WithAToken) { TalkBothWays({.token = "open sesame"}, {}); }

TEST(ControlTest, WithMutualTls) {
  testing::TestCertificates certificates;
  TalkBothWays({.tls = certificates.files()}, {.tls = certificates.files()});
}

TEST(ControlTest, ManyMessagesKeepTheirOrder) {
  ServerHandler at_server;
  ClientHandler at_client;
  auto server = MustListen({}, &at_server);
  auto link = MustConnect({.address = server->address()}, &at_client);
  ASSERT_TRUE(link->Send(Join{}));
  const LinkId id = at_server.Next().link;
  constexpr int kCount = 500;
  for (int i = 0; i < kCount; ++i) {
    server->Send(id, flow::StepPlan{.step = StepId(i)});
    ASSERT_TRUE(link->Send(Heartbeat{.beats = static_cast<uint64_t>(i)}));
  }
  const auto messages = at_client.WaitForMessages(kCount);
  ASSERT_EQ(messages.size(), size_t{kCount});
  for (int i = 0; i < kCount; ++i) {
    EXPECT_EQ(std::get<flow::StepPlan>(messages[i]).step, StepId(i));
    EXPECT_EQ(std::get<Heartbeat>(at_server.Next().message).beats, static_cast<uint64_t>(i));
  }
}

TEST(ControlTest, CloseTellsTheWorkerWhyBehindWhatWasSent) {
  ServerHandler at_server;
  ClientHandler at_client;
  auto server = MustListen({}, &at_server);
  auto link = MustConnect({.address = server->address()}, &at_client);
  ASSERT_TRUE(link->Send(Join{}));
  const LinkId id = at_server.Next().link;
  server->Send(id, Shutdown{true, "bye"});
  server->Close(id, absl::FailedPreconditionError("other build"));
  const absl::Status reason = at_client.WaitUntilGone();
  EXPECT_EQ(reason, absl::FailedPreconditionError("other build"));
  EXPECT_EQ(at_client.WaitForMessages(1).size(), 1u);
  EXPECT_EQ(at_server.Next().kind, ServerEvent::kGone);
}

absl::Status JoinAndWaitForTheEnd(const ListenOptions& listen, const Join& join) {
  ServerHandler at_server;
  ClientHandler at_client;
  auto server = MustListen(listen, &at_server);
  auto link = MustConnect({.address = server->address()}, &at_client);
  link->Send(join);
  return at_client.WaitUntilGone();
}

TEST(ControlTest, WrongTokenIsRefused) {
  for (const char* token : {"", "closed sesame", "open sesam", "open sesamE"}) {
    EXPECT_EQ(JoinAndWaitForTheEnd({.token = "open sesame"}, Join{.token = token}).code(),
              absl::StatusCode::kPermissionDenied);
  }
}

TEST(ControlTest, OtherProtocolIsRefused) {
  const absl::Status status =
      JoinAndWaitForTheEnd({}, Join{.protocol_version = kProtocolVersion + 1});
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("same build"));
}

TEST(ControlTest, TheFirstMessageMustBeJoin) {
  ServerHandler at_server;
  ClientHandler at_client;
  auto server = MustListen({}, &at_server);
  auto link = MustConnect({.address = server->address()}, &at_client);
  link->Send(Heartbeat{});
  EXPECT_EQ(at_client.WaitUntilGone().code(), absl::StatusCode::kInvalidArgument);
  auto again = MustConnect({.address = server->address()}, &at_client);
  again->Send(Join{.pid = 5});
  EXPECT_EQ(at_server.Next().kind, ServerEvent::kJoin);  // nothing was heard of the first
  again->Send(Join{});
  const ServerEvent gone = at_server.Next();
  EXPECT_EQ(gone.kind, ServerEvent::kGone);
  EXPECT_THAT(gone.reason.ToString(), HasSubstr("unexpected Join"));
}

class RawReactor final : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  void OnDone(const grpc::Status& status) override {
    absl::MutexLock lock(&mutex_);
    status_ = status;
    done_ = true;
  }
  grpc::Status Wait() {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(&done_));
    return status_;
  }

 private:
  absl::Mutex mutex_;
  bool done_ = false;
  grpc::Status status_;
};

TEST(ControlTest, GarbageEndsTheLinkWithAReason) {
  ServerHandler at_server;
  auto server = MustListen({}, &at_server);
  grpc::GenericStub stub(
      grpc::CreateChannel(server->address(), grpc::InsecureChannelCredentials()));
  const Frame join = Encode(FromWorker(Join{}));
  for (const std::string& bytes : {std::string("\xff\xff garbage"), *join}) {
    grpc::ClientContext context;
    RawReactor reactor;
    stub.PrepareBidiStreamingCall(&context, "/pamir.internal.v1.Control/Attach", {}, &reactor);
    const grpc::Slice slice(bytes);
    grpc::ByteBuffer buffer(&slice, 1);
    reactor.StartWrite(&buffer);
    reactor.StartCall();
    if (bytes == *join) {
      EXPECT_EQ(at_server.Next().kind, ServerEvent::kJoin);
      context.TryCancel();
      reactor.Wait();
      EXPECT_EQ(at_server.Next().kind, ServerEvent::kGone);
    } else {
      EXPECT_EQ(reactor.Wait().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    }
  }
}

TEST(ControlTest, OffLoopbackWithoutTlsIsRefusedOnBothSides) {
  ServerHandler at_server;
  ClientHandler at_client;
  for (const char* address : {"0.0.0.0:0", "[::]:0"}) {
    const auto server = ControlServer::Start({.address = address}, &at_server);
    EXPECT_EQ(server.status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(server.status().ToString(), HasSubstr("mutual TLS"));
  }
  const auto link = ConnectToCoordinator({.address = "192.0.2.1:5"}, &at_client);
  EXPECT_EQ(link.status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(ControlTest, TlsFilesMustBeThere) {
  ServerHandler at_server;
  const TlsFiles missing{"/nonexistent/c", "/nonexistent/k", "/nonexistent/ca"};
  const auto server = ControlServer::Start({.tls = missing}, &at_server);
  EXPECT_EQ(server.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(server.status().ToString(), HasSubstr("/nonexistent/c"));
}

TEST(ControlTest, APortInUseIsAnError) {
  ServerHandler at_server;
  auto server = MustListen({}, &at_server);
  const auto second = ControlServer::Start({.address = server->address()}, &at_server);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(second.status().ToString(), HasSubstr("in use"));
}

// A client of another authority, and one without any certificate, are not let in.
TEST(ControlTest, StrangersAreNotLetIn) {
  testing::TestCertificates certificates, others;
  ServerHandler at_server;
  ClientHandler at_client;
  auto server = MustListen({.tls = certificates.files()}, &at_server);
  for (const TlsFiles& tls :
       {others.files(), TlsFiles{},
        TlsFiles{others.files().certificate, others.files().key, certificates.files().ca}}) {
    const auto link = ConnectToCoordinator(
        {.address = server->address(), .tls = tls, .timeout = absl::Seconds(1)}, &at_client);
    EXPECT_EQ(link.status().code(), absl::StatusCode::kDeadlineExceeded) << link.status();
  }
}

TEST(ControlTest, ConnectWaitsForACoordinatorThatStartsLater) {
  ServerHandler at_server;
  ClientHandler at_client;
  const std::string address = absl::StrCat("unix:", ::testing::TempDir(), "/later", getpid());
  std::unique_ptr<ControlServer> server;
  int asked = 0;
  const ConnectOptions options{.address = address, .timeout = kLong, .stop_waiting = [&] {
                                 if (++asked == 3) {
                                   server = MustListen({.address = address}, &at_server);
                                 }
                                 return false;
                               }};
  MustConnect(options, &at_client);
  EXPECT_GE(asked, 3);
}

TEST(ControlTest, ConnectGivesUp) {
  ClientHandler at_client;
  const std::string nowhere = absl::StrCat("unix:", ::testing::TempDir(), "/nowhere", getpid());
  const auto late =
      ConnectToCoordinator({.address = nowhere, .timeout = absl::Milliseconds(300)}, &at_client);
  EXPECT_EQ(late.status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(late.status().ToString(), HasSubstr(nowhere));
  const auto stopped = ConnectToCoordinator(
      {.address = nowhere, .timeout = kLong, .stop_waiting = [] { return true; }}, &at_client);
  EXPECT_EQ(stopped.status().code(), absl::StatusCode::kCancelled);
}

TEST(ControlTest, StoppingTheServerEndsTheLinks) {
  ServerHandler at_server;
  ClientHandler at_client;
  auto server = MustListen({}, &at_server);
  auto link = MustConnect({.address = server->address()}, &at_client);
  ASSERT_TRUE(link->Send(Join{}));
  at_server.Next();
  server->Stop(absl::ZeroDuration());
  EXPECT_FALSE(at_client.WaitUntilGone().ok());
  EXPECT_EQ(at_server.Next().kind, ServerEvent::kGone);
}

TEST(ControlTest, TooManyLinksAreRefused) {
  ServerHandler at_server;
  ClientHandler at_client, second;
  auto server = MustListen({.max_links = 1}, &at_server);
  auto link = MustConnect({.address = server->address()}, &at_client);
  const auto refused = ConnectToCoordinator({.address = server->address()}, &second);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted) << refused.status();
}

// The handler blocks one reading side, so that the other's queue must fill.
TEST(ControlTest, APeerThatDoesNotReadIsLost) {
  class Blocking final : public CoordinatorLinkHandler {
   public:
    void OnMessage(ToWorker) override {
      absl::MutexLock lock(&mutex);
      mutex.Await(absl::Condition(&open));
    }
    void OnGone(absl::Status) override {}
    absl::Mutex mutex;
    bool open = false;
  } blocking;
  ServerHandler at_server;
  auto server = MustListen({}, &at_server);
  auto link = MustConnect({.address = server->address()}, &blocking);
  ASSERT_TRUE(link->Send(Join{}));
  const LinkId id = at_server.Next().link;
  const Exchanged big{.blobs = {std::string(1 << 20, 'x')}};
  for (int i = 0; i < 400; ++i) server->Send(id, big);
  const ServerEvent gone = at_server.Next();
  EXPECT_EQ(gone.kind, ServerEvent::kGone);
  EXPECT_THAT(gone.reason.ToString(), HasSubstr("queue is full"));
  absl::MutexLock lock(&blocking.mutex);
  blocking.open = true;
}

}  // namespace
}  // namespace pamir::wire
