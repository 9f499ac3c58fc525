#include "cluster/wire/address.h"

#include <gtest/gtest.h>

#include <string>

namespace pamir::wire {
namespace {

TEST(AddressTest, Loopback) {
  for (const char* address :
       {"127.0.0.1:80", "127.9.8.7:0", "127.0.0.1", "localhost:1", "[::1]:80", "::1", "unix:/x"}) {
    EXPECT_TRUE(IsLoopback(address)) << address;
  }
  for (const char* address : {"0.0.0.0:80", "10.0.0.1:80", "[::]:80", "128.0.0.1:1", "host:80",
                              "127.0.0.1.evil.org:80", "[fe80::1]:80", "", "localhost.org:1"}) {
    EXPECT_FALSE(IsLoopback(address)) << address;
  }
}

TEST(AddressTest, WellFormed) {
  for (const char* address : {"127.0.0.1:80", "[::1]:0", "host.domain:65535", "unix:/tmp/x"}) {
    EXPECT_TRUE(CheckAddress(address).ok()) << address;
  }
  for (const char* address : {"", "127.0.0.1", ":80", "host:65536", "host:-1", "host:", "host:8x",
                              "::1:80", "unix:", "[]:80"}) {
    EXPECT_EQ(CheckAddress(address).code(), absl::StatusCode::kInvalidArgument) << address;
  }
  EXPECT_FALSE(CheckAddress("unix:/" + std::string(200, 'x')).ok());
}

TEST(AddressTest, OffLoopbackNeedsMutualTls) {
  const TlsFiles none, all{"cert", "key", "ca"}, part{"cert", "key", ""};
  EXPECT_TRUE(CheckTransport("127.0.0.1:1", none).ok());
  EXPECT_TRUE(CheckTransport("127.0.0.1:1", all).ok());
  EXPECT_TRUE(CheckTransport("0.0.0.0:1", all).ok());
  EXPECT_EQ(CheckTransport("0.0.0.0:1", none).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(CheckTransport("10.1.2.3:1", none).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(CheckTransport("127.0.0.1:1", part).code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace pamir::wire
