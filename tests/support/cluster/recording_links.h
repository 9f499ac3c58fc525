// Links that only write down what is sent.
#ifndef PAMIR_TESTS_SUPPORT_CLUSTER_RECORDING_LINKS_H_
#define PAMIR_TESTS_SUPPORT_CLUSTER_RECORDING_LINKS_H_

#include <map>
#include <utility>
#include <vector>

#include "cluster/wire/links.h"

namespace pamir::testing {

class RecordingLinks final : public wire::Links {
 public:
  void Send(wire::LinkId link, const wire::ToWorker& message) override {
    sent[link].push_back(message);
  }
  void SendToAll(const std::vector<wire::LinkId>& links, const wire::ToWorker& message) override {
    for (const wire::LinkId link : links) Send(link, message);
  }
  void Close(wire::LinkId link, const absl::Status& why) override { closed[link] = why; }

  // All messages of one kind on one link, in order.
  template <typename Message>
  std::vector<Message> Of(wire::LinkId link) {
    std::vector<Message> all;
    for (const wire::ToWorker& message : sent[link]) {
      if (const Message* one = std::get_if<Message>(&message)) all.push_back(*one);
    }
    return all;
  }

  std::map<wire::LinkId, std::vector<wire::ToWorker>> sent;
  std::map<wire::LinkId, absl::Status> closed;
};

}  // namespace pamir::testing

#endif  // PAMIR_TESTS_SUPPORT_CLUSTER_RECORDING_LINKS_H_
