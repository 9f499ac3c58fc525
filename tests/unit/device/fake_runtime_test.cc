// The fake device is what tests of the GPU engine believe: that it counts, forbids and fails as
// CUDA does.
#include <cstring>
#include <thread>
#include <vector>

#include "engine/device/cuda_device.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "support/fake_cuda/fake_cuda.h"

namespace pamir::device {
namespace {

using kernels::CudaApi;
using testing::FakeCuda;
using testing::FakeCudaOptions;

// A device with a stream, pinned memory and device memory of kBytes each.
class FakeRuntime : public ::testing::TestWithParam<bool> {
 protected:
  static constexpr int64_t kBytes = 256;

  static FakeCudaOptions Options() {
    FakeCudaOptions options;
    options.queued = GetParam();
    return options;
  }

  const CudaApi& api() const { return device_->api(); }
  int32_t* pinned() const { return static_cast<int32_t*>(pinned_.get()); }
  int32_t* memory() const { return static_cast<int32_t*>(memory_.get()); }

  // memory()[i] += ... is not in the table; picking rows is a kernel that is easy to follow.
  int PickRow(int64_t from, int64_t to) const {
    kernels::PickRowsCudaArgs args;
    args.in = memory() + 4 * from;
    args.rows = rows();
    args.count = 1;
    args.row_bytes = 16;
    args.out = memory() + 4 * to;
    return api().pick_rows(args, stream_.get());
  }
  int32_t* rows() const { return memory() + 32; }  // a zero, from SetUp

  void SetUp() override {
    ASSERT_EQ(api().fill(memory(), 0, kBytes, stream_.get()), 0);
    ASSERT_EQ(api().synchronize_stream(stream_.get()), 0);
    fake_.ResetCounts();
  }

  FakeCuda fake_{Options()};
  std::unique_ptr<CudaDevice> device_ = CudaDevice::OpenWith(fake_.api(), 0).value();
  CudaStream stream_ = MakeStream(*device_).value();
  PinnedMemory pinned_ = AllocatePinned(*device_, kBytes, "pinned").value();
  CudaMemory memory_ = AllocateCuda(*device_, kBytes, "memory").value();
};

INSTANTIATE_TEST_SUITE_P(AtOnceAndQueued, FakeRuntime, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "queued" : "at_once"; });

TEST_P(FakeRuntime, CountsWhatCrossesTheBus) {
  EXPECT_EQ(api().copy(memory(), pinned(), 64, stream_.get()), 0);
  EXPECT_EQ(api().copy(memory() + 16, memory(), 64, stream_.get()), 0);
  EXPECT_EQ(api().copy_rows(pinned(), 16, memory(), 32, 8, 3, stream_.get()), 0);
  EXPECT_EQ(PickRow(0, 1), 0);
  EXPECT_EQ(api().synchronize_stream(stream_.get()), 0);
  const testing::FakeCudaCounts counts = fake_.counts();
  EXPECT_EQ(counts.copies_to_device, 1);
  EXPECT_EQ(counts.bytes_to_device, 64);
  EXPECT_EQ(counts.copies_to_host, 1);
  EXPECT_EQ(counts.bytes_to_host, 24);
  EXPECT_EQ(counts.copies_within, 1);
  EXPECT_EQ(counts.kernels, 1);
  EXPECT_EQ(counts.launches, 1);
  EXPECT_EQ(counts.synchronizations, 1);
  EXPECT_EQ(fake_.kernels_of("pick_rows"), 1);
}

TEST_P(FakeRuntime, WorkIsDoneInOrderWhenSomebodyWaited) {
  pinned()[0] = 1;
  EXPECT_EQ(api().copy(memory(), pinned(), 4, stream_.get()), 0);
  EXPECT_EQ(api().copy(pinned() + 1, memory(), 4, stream_.get()), 0);
  if (GetParam()) {
    EXPECT_NE(pinned()[1], 1) << "queued work was done too early";
  }
  EXPECT_EQ(api().synchronize_stream(stream_.get()), 0);
  EXPECT_EQ(pinned()[1], 1);
}

TEST_P(FakeRuntime, MemoryThatIsNotPinnedIsReadAndWrittenAtOnce) {
  std::vector<int32_t> host = {7, 0};
  EXPECT_EQ(api().copy(memory(), host.data(), 4, stream_.get()), 0);
  host[0] = 8;
  EXPECT_EQ(api().copy(host.data() + 1, memory(), 4, stream_.get()), 0);
  EXPECT_EQ(host[1], 7);
}

TEST_P(FakeRuntime, AnEventIsDoneWithTheWorkBeforeIt) {
  const CudaEvent event = MakeEvent(*device_).value();
  const CudaStream other = MakeStream(*device_).value();
  pinned()[0] = 5;
  EXPECT_EQ(api().copy(memory(), pinned(), 4, stream_.get()), 0);
  EXPECT_EQ(api().record_event(event.get(), stream_.get()), 0);
  EXPECT_EQ(api().wait_event(other.get(), event.get()), 0);
  EXPECT_EQ(api().copy(pinned() + 1, memory(), 4, other.get()), 0);
  EXPECT_EQ(api().synchronize_stream(other.get()), 0);
  EXPECT_EQ(pinned()[1], 5);
  bool done = false;
  EXPECT_EQ(api().event_done(event.get(), &done), 0);
  EXPECT_TRUE(done);
}

TEST_P(FakeRuntime, AskingAnEventEndsOnce) {
  const CudaEvent event = MakeEvent(*device_).value();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(PickRow(0, 1), 0);
  EXPECT_EQ(api().record_event(event.get(), stream_.get()), 0);
  int asked = 0;
  for (bool done = false; !done; ++asked) EXPECT_EQ(api().event_done(event.get(), &done), 0);
  EXPECT_EQ(asked, GetParam() ? 4 : 1);
  EXPECT_EQ(fake_.counts().kernels, 3);
}

TEST_P(FakeRuntime, GraphsRunWhatWasCapturedWithItsArguments) {
  ASSERT_EQ(api().begin_capture(stream_.get()), 0);
  EXPECT_EQ(api().copy(memory(), pinned(), 16, stream_.get()), 0);
  EXPECT_EQ(PickRow(0, 1), 0);
  EXPECT_EQ(api().copy(pinned() + 4, memory() + 4, 16, stream_.get()), 0);
  void* handle = nullptr;
  ASSERT_EQ(api().end_capture(stream_.get(), &handle), 0);
  const CudaGraph graph(*device_, handle);
  EXPECT_EQ(fake_.counts().kernels, 0) << "capturing runs nothing";
  for (const int32_t value : {3, 4}) {
    pinned()[0] = value;
    EXPECT_EQ(api().launch_graph(graph.get(), stream_.get()), 0);
    EXPECT_EQ(api().synchronize_stream(stream_.get()), 0);
    EXPECT_EQ(pinned()[4], value);
  }
  EXPECT_EQ(fake_.counts().graph_launches, 2);
  EXPECT_EQ(fake_.counts().launches, 0);
  EXPECT_EQ(fake_.counts().kernels, 2);
  EXPECT_EQ(fake_.counts().copies_to_device, 2);
}

TEST_P(FakeRuntime, WaitingOrAllocatingSpoilsACapture) {
  const auto spoils = [&](const std::function<int()>& call) {
    void* graph = nullptr;
    ASSERT_EQ(api().begin_capture(stream_.get()), 0);
    EXPECT_EQ(call(), 900);
    EXPECT_EQ(PickRow(0, 1), 901);
    EXPECT_EQ(api().end_capture(stream_.get(), &graph), 901);
    EXPECT_EQ(graph, nullptr);
  };
  void* memory = nullptr;
  int32_t pageable = 0;
  spoils([&] { return api().synchronize_stream(stream_.get()); });
  spoils([&] { return api().synchronize(); });
  spoils([&] { return api().allocate(16, &memory); });
  spoils([&] { return api().allocate_pinned(16, &memory); });
  spoils([&] { return api().copy(&pageable, this->memory(), 4, stream_.get()); });
}

TEST_P(FakeRuntime, AnotherThreadMayAllocateWhileThisOneCaptures) {
  ASSERT_EQ(api().begin_capture(stream_.get()), 0);
  std::thread([&] { EXPECT_TRUE(AllocateCuda(*device_, 16, "elsewhere").ok()); }).join();
  void* graph = nullptr;
  EXPECT_EQ(api().end_capture(stream_.get(), &graph), 0);
  EXPECT_EQ(api().destroy_graph(graph), 0);
}

TEST_P(FakeRuntime, ACaptureMustJoinItsStreams) {
  const CudaStream other = MakeStream(*device_).value();
  const CudaEvent fork = MakeEvent(*device_).value(), join = MakeEvent(*device_).value();
  for (const bool joined : {true, false}) {
    ASSERT_EQ(api().begin_capture(stream_.get()), 0);
    EXPECT_EQ(api().record_event(fork.get(), stream_.get()), 0);
    EXPECT_EQ(api().wait_event(other.get(), fork.get()), 0);
    EXPECT_EQ(api().copy(memory(), pinned(), 4, other.get()), 0);
    EXPECT_EQ(api().record_event(join.get(), other.get()), 0);
    if (joined) {
      EXPECT_EQ(api().wait_event(stream_.get(), join.get()), 0);
    }
    void* graph = nullptr;
    EXPECT_EQ(api().end_capture(stream_.get(), &graph), joined ? 0 : 904);
    if (joined) {
      EXPECT_EQ(api().destroy_graph(graph), 0);
    }
  }
  EXPECT_EQ(fake_.counts().copies_to_device, 0);
}

TEST_P(FakeRuntime, AFailedLaunchLosesTheDevice) {
  fake_.FailLaunch(2);
  EXPECT_EQ(PickRow(0, 1), 0);
  EXPECT_EQ(PickRow(0, 1), 700);
  EXPECT_EQ(PickRow(0, 1), 700);
  void* memory = nullptr;
  EXPECT_EQ(api().allocate(16, &memory), 700);
  EXPECT_EQ(api().copy(pinned(), this->memory(), 4, stream_.get()), 700);
  EXPECT_EQ(api().synchronize_stream(stream_.get()), 700);
  EXPECT_EQ(api().last_error(), 700);
  EXPECT_EQ(api().last_error(), 700) << "it stays";
}

TEST_P(FakeRuntime, ALateFailureShowsAtTheNextCall) {
  fake_.FailLaunch(1, 719, /*late=*/true);
  EXPECT_EQ(PickRow(0, 1), 0);
  EXPECT_EQ(api().synchronize_stream(stream_.get()), 719);
}

using FakeRuntimeDeathTest = FakeRuntime;

INSTANTIATE_TEST_SUITE_P(AtOnceAndQueued, FakeRuntimeDeathTest, ::testing::Bool(),
                         [](const auto& info) { return info.param ? "queued" : "at_once"; });

TEST_P(FakeRuntimeDeathTest, StrangePointersAreNamed) {
  EXPECT_DEATH(api().copy(memory() + 1, pinned(), kBytes, stream_.get()),
               "copy: to \\(256 bytes\\) passes the end of its device memory of 256 bytes, from "
               "byte 4");
  EXPECT_DEATH(api().copy(memory(), pinned() + 1, kBytes, stream_.get()), "copy: from .*pinned");
  EXPECT_DEATH(api().copy(pinned(), pinned() + 4, 4, stream_.get()), "neither side");
  EXPECT_DEATH(api().fill(pinned(), 0, 4, stream_.get()), "fill: to .*not in live device memory");
  kernels::PickRowsCudaArgs args;
  args.in = memory(), args.rows = pinned(), args.count = 1, args.row_bytes = 16;
  args.out = memory() + 4;
  EXPECT_DEATH(api().pick_rows(args, stream_.get()),
               "pick_rows: rows .*not in live device memory: pinned memory of 256");
}

TEST_P(FakeRuntimeDeathTest, AGraphMayNotOutliveItsMemory) {
  CudaMemory rows = AllocateCuda(*device_, 16, "rows").value();
  kernels::PickRowsCudaArgs args;
  args.in = memory(), args.rows = static_cast<int32_t*>(rows.get()), args.count = 1;
  args.row_bytes = 16, args.out = memory() + 4;
  ASSERT_EQ(api().begin_capture(stream_.get()), 0);
  EXPECT_EQ(api().pick_rows(args, stream_.get()), 0);
  void* handle = nullptr;
  ASSERT_EQ(api().end_capture(stream_.get(), &handle), 0);
  const CudaGraph graph(*device_, handle);
  rows = CudaMemory();
  EXPECT_DEATH(
      {
        api().launch_graph(graph.get(), stream_.get());
        api().synchronize();
      },
      "pick_rows: rows .*not in live device memory");
}

TEST_P(FakeRuntimeDeathTest, FrozenMeansNoAllocation) {
  fake_.Freeze(true);
  void* memory = nullptr;
  EXPECT_DEATH(api().allocate(16, &memory), "an allocation after everything was to be taken");
  EXPECT_DEATH(api().allocate_pinned(16, &memory), "an allocation after everything");
}

TEST_P(FakeRuntimeDeathTest, WritingPastTheEndIsFoundOnRelease) {
  EXPECT_DEATH(
      {
        memory()[kBytes / 4] = 0;
        memory_ = CudaMemory();
      },
      "somebody wrote in front of or behind 256 bytes of device memory");
}

TEST(FakeCudaDeathTest, LeaksAreNamed) {
  EXPECT_DEATH(
      {
        FakeCuda fake;
        void* memory = nullptr;
        void* event = nullptr;
        fake.api()->allocate(48, &memory);
        fake.api()->create_event(false, &event);
      },
      "not given back to the fake device: 48 bytes of device memory, 1 events");
}

TEST(FakeCuda, DevicesAreApart) {
  FakeCudaOptions options;
  options.devices = 2;
  options.memory_bytes = 1000;
  FakeCuda fake(options);
  const auto first = CudaDevice::OpenWith(fake.api(), 0).value();
  const CudaStream stream = MakeStream(*first).value();
  const auto second = CudaDevice::OpenWith(fake.api(), 1).value();
  const CudaMemory memory = AllocateCuda(*second, 900, "on the second").value();
  EXPECT_EQ(fake.device_bytes(0), 0);
  EXPECT_EQ(fake.device_bytes(1), 900);
  EXPECT_EQ(fake.api()->fill(memory.get(), 0, 4, stream.get()), 400) << "not this device's stream";
  ASSERT_TRUE(first->Use().ok());
  EXPECT_DEATH(fake.api()->fill(memory.get(), 0, 4, stream.get()),
               "lies on device 1, the stream on 0");
  EXPECT_TRUE(AllocateCuda(*first, 900, "on the first").ok());
}

}  // namespace
}  // namespace pamir::device
