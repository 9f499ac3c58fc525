// Links between a coordinator and worker threads of one process without sockets, so that the thread
// sanitizer can judge both sides.
#ifndef PAMIR_TESTS_SUPPORT_CLUSTER_LOCAL_LINKS_H_
#define PAMIR_TESTS_SUPPORT_CLUSTER_LOCAL_LINKS_H_

#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "cluster/wire/links.h"

namespace pamir::testing {

// Messages are handed over on the sender's thread, in order for each direction.
class LocalLinks final : public wire::Links {
 public:
  explicit LocalLinks(wire::LinkHandler* coordinator) : coordinator_(coordinator) {}

  std::unique_ptr<wire::CoordinatorLink> Connect(wire::CoordinatorLinkHandler* worker) {
    absl::MutexLock lock(&mutex_);
    const wire::LinkId id(channels_.size() + 1);
    auto channel = std::make_shared<Channel>(id, coordinator_, worker);
    channels_[id] = channel;
    return std::make_unique<WorkerEnd>(channel);
  }

  void Send(wire::LinkId link, const wire::ToWorker& message) override {
    if (const auto channel = Find(link)) channel->Down(message);
  }
  void SendToAll(const std::vector<wire::LinkId>& links, const wire::ToWorker& message) override {
    for (const wire::LinkId link : links) Send(link, message);
  }
  void Close(wire::LinkId link, const absl::Status& why) override {
    if (const auto channel = Find(link)) channel->End(why);
  }

 private:
  struct Channel {
    Channel(wire::LinkId id, wire::LinkHandler* coordinator, wire::CoordinatorLinkHandler* worker)
        : id(id), coordinator(coordinator), worker(worker) {}

    bool Up(const wire::FromWorker& message) {
      absl::MutexLock lock(&up);
      if (up_closed) return false;
      if (const auto* join = std::get_if<wire::Join>(&message)) {
        coordinator->OnJoin(id, *join);
      } else {
        coordinator->OnMessage(id, message);
      }
      return true;
    }
    void Down(const wire::ToWorker& message) {
      absl::MutexLock lock(&down);
      if (!down_closed) worker->OnMessage(message);
    }
    void End(const absl::Status& why) {
      {
        absl::MutexLock lock(&up);
        if (!std::exchange(up_closed, true)) coordinator->OnGone(id, why);
      }
      absl::MutexLock lock(&down);
      if (!std::exchange(down_closed, true)) worker->OnGone(why);
    }

    const wire::LinkId id;
    wire::LinkHandler* const coordinator;
    wire::CoordinatorLinkHandler* const worker;
    absl::Mutex up, down;
    bool up_closed = false, down_closed = false;
  };

  class WorkerEnd final : public wire::CoordinatorLink {
   public:
    explicit WorkerEnd(std::shared_ptr<Channel> channel) : channel_(std::move(channel)) {}
    ~WorkerEnd() override { Close(absl::ZeroDuration()); }
    bool Send(const wire::FromWorker& message) override { return channel_->Up(message); }
    void Close(absl::Duration) override {
      channel_->End(absl::UnavailableError("its connection was closed"));
    }

   private:
    const std::shared_ptr<Channel> channel_;
  };

  std::shared_ptr<Channel> Find(wire::LinkId link) {
    absl::MutexLock lock(&mutex_);
    const auto found = channels_.find(link);
    return found == channels_.end() ? nullptr : found->second;
  }

  wire::LinkHandler* const coordinator_;
  absl::Mutex mutex_;
  std::map<wire::LinkId, std::shared_ptr<Channel>> channels_;
};

}  // namespace pamir::testing

#endif  // PAMIR_TESTS_SUPPORT_CLUSTER_LOCAL_LINKS_H_
