// A gRPC door on loopback, port 0, before a fake engine, and a client of it.
#ifndef PAMIR_TESTS_UNIT_GATEWAY_DOOR_FIXTURE_H_
#define PAMIR_TESTS_UNIT_GATEWAY_DOOR_FIXTURE_H_

#include <memory>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "gateway/grpc_server.h"
#include "gtest/gtest.h"
#include "pamir/client.h"
#include "unit/gateway/byte_text.h"
#include "unit/gateway/fake_engine.h"

namespace pamir::gateway {

class Door : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.port = 0;
    options_.health_interval = absl::Milliseconds(2);
  }
  // With options_ as the test set them.
  void Open() {
    auto server = GrpcServer::Start(options_, &engine_, &text_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    auto client = Client::Connect(target(), std::chrono::seconds(20));
    ASSERT_TRUE(client.ok()) << client.error.message;
    client_ = client.value;
  }
  std::string target() const { return absl::StrCat("127.0.0.1:", server_->port()); }
  const Client& client() const { return *client_; }

  static GenerateParams Prompt(const std::string& text, int32_t max_tokens = 16) {
    GenerateParams params;
    params.prompt = text;
    params.stop.max_tokens = max_tokens;
    return params;
  }

  FakeEngine engine_;
  ByteText text_;
  GrpcServerOptions options_;
  std::unique_ptr<GrpcServer> server_;
  std::optional<Client> client_;
};

}  // namespace pamir::gateway

#endif  // PAMIR_TESTS_UNIT_GATEWAY_DOOR_FIXTURE_H_
