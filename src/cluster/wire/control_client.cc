#include "cluster/wire/control_client.h"

#include <grpcpp/create_channel.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "cluster/wire/client_stream.h"
#include "cluster/wire/credentials.h"

namespace pamir::wire {
namespace {

constexpr absl::Duration kAttemptPause = absl::Milliseconds(100);
constexpr absl::Duration kAttemptTimeout = absl::Seconds(5);
constexpr absl::Duration kFirstNotice = absl::Seconds(2);
constexpr absl::Duration kNoticeEvery = absl::Seconds(10);
// A coordinator's host that vanishes without a word is noticed by these.
constexpr int kPingEveryMs = 5000;
constexpr int kPingTimeoutMs = 5000;
constexpr int kMinBackoffMs = 100, kMaxBackoffMs = 1000;

class ControlClient final : public CoordinatorLink {
 public:
  explicit ControlClient(std::unique_ptr<ClientStream> stream) : stream_(std::move(stream)) {}
  ~ControlClient() override { stream_->Close(absl::ZeroDuration()); }

  bool Send(const FromWorker& message) override { return stream_->Send(Encode(message)); }
  void Close(absl::Duration timeout) override { stream_->Close(timeout); }

 private:
  const std::unique_ptr<ClientStream> stream_;
};

absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const ConnectOptions& options) {
  PAMIR_RETURN_IF_ERROR(CheckAddress(options.address));
  PAMIR_RETURN_IF_ERROR(CheckTransport(options.address, options.tls));
  PAMIR_ASSIGN_OR_RETURN(auto credentials, MakeClientCredentials(options.tls));
  grpc::ChannelArguments args;
  args.SetMaxReceiveMessageSize(static_cast<int>(kMaxFrameBytes));
  args.SetMaxSendMessageSize(static_cast<int>(kMaxFrameBytes));
  args.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kMinBackoffMs);
  args.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kMinBackoffMs);
  args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kMaxBackoffMs);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kPingEveryMs);
  args.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kPingTimeoutMs);
  args.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  if (!options.server_name.empty()) args.SetSslTargetNameOverride(options.server_name);
  return grpc::CreateCustomChannel(options.address, credentials, args);
}

// Says now and then that it is still waiting.
class Notices {
 public:
  explicit Notices(const std::string& address) : address_(address) {}
  void MaybeLog(const absl::Status& last) {
    if (absl::Now() < next_) return;
    next_ = absl::Now() + kNoticeEvery;
    LogInfo(absl::StrCat("waiting for the coordinator at ", address_, ": ",
                         std::string(last.message().data(), last.message().size())));
  }

 private:
  const std::string address_;
  absl::Time next_ = absl::Now() + kFirstNotice;
};

}  // namespace

absl::StatusOr<std::unique_ptr<CoordinatorLink>> ConnectToCoordinator(
    const ConnectOptions& options, CoordinatorLinkHandler* handler) {
  PAMIR_ASSIGN_OR_RETURN(auto channel, MakeChannel(options));
  const absl::Time deadline = absl::Now() + options.timeout;
  Notices notices(options.address);
  for (;;) {
    auto stream = std::make_unique<ClientStream>(channel, handler);
    const absl::Status status = stream->WaitUntilConnected(
        std::clamp(deadline - absl::Now(), kAttemptPause, kAttemptTimeout));
    if (status.ok()) return std::make_unique<ControlClient>(std::move(stream));
    stream->Close(absl::ZeroDuration());
    // Anything but "not there" and "no answer" will not change with time.
    if (!absl::IsUnavailable(status) && !absl::IsDeadlineExceeded(status)) return status;
    if (options.stop_waiting && options.stop_waiting()) {
      return absl::CancelledError("stopped while waiting for the coordinator");
    }
    if (absl::Now() >= deadline) {
      return absl::DeadlineExceededError(absl::StrCat(
          "no coordinator at ", options.address, " within ", absl::FormatDuration(options.timeout),
          ": is it running there, and do both sides have "
          "TLS or neither? Last attempt: ",
          status.ToString()));
    }
    notices.MaybeLog(status);
    absl::SleepFor(kAttemptPause);
  }
}

}  // namespace pamir::wire
