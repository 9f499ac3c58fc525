// A GPU's memory, streams and messages, over the fake one.
#include "engine/device/cuda_device.h"

#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "support/fake_cuda/fake_cuda.h"

namespace pamir::device {
namespace {

using ::testing::AllOf;
using testing::FakeCuda;
using testing::FakeCudaOptions;
using ::testing::HasSubstr;

constexpr int64_t kMiB = int64_t{1} << 20;

std::unique_ptr<CudaDevice> Open(const FakeCuda& fake, int index = 0) {
  auto device = CudaDevice::OpenWith(fake.api(), index);
  EXPECT_TRUE(device.ok()) << device.status();
  return *std::move(device);
}

std::string OpenError(const FakeCuda& fake, int index) {
  return CudaDevice::OpenWith(fake.api(), index).status().ToString();
}

TEST(CudaDevice, TellsWhatItIs) {
  FakeCudaOptions options;
  options.devices = 2;
  options.memory_bytes = 64 * kMiB;
  FakeCuda fake(options);
  const auto device = Open(fake, 1);
  EXPECT_EQ(device->index(), 1);
  EXPECT_EQ(device->facts().capability, 90);
  EXPECT_EQ(device->facts().memory_bytes, 64 * kMiB);
  EXPECT_EQ(device->FreeBytes().value(), 64 * kMiB);
  EXPECT_NE(std::string(device->facts().bus_id), Open(fake, 0)->facts().bus_id);
}

TEST(CudaDevice, NamesTheDevicesThatExist) {
  FakeCudaOptions options;
  {
    FakeCuda fake(options);
    EXPECT_THAT(OpenError(fake, 3),
                AllOf(HasSubstr("INVALID_ARGUMENT"), HasSubstr("no GPU 3"), HasSubstr("cuda:0")));
    EXPECT_THAT(OpenError(fake, -1), HasSubstr("INVALID_ARGUMENT"));
  }
  options.devices = 4;
  FakeCuda fake(options);
  EXPECT_THAT(OpenError(fake, 4), HasSubstr("cuda:0 to cuda:3"));
}

TEST(CudaDevice, SaysWhyNoneCanBeUsed) {
  FakeCudaOptions options;
  options.devices = 0;
  {
    FakeCuda fake(options);
    EXPECT_THAT(OpenError(fake, 0), AllOf(HasSubstr("UNAVAILABLE"), HasSubstr("no GPU can be used"),
                                          HasSubstr("no CUDA-capable device")));
  }
  options.count_error = 35;
  FakeCuda fake(options);
  EXPECT_THAT(OpenError(fake, 0), AllOf(HasSubstr("UNAVAILABLE"), HasSubstr("driver version is "
                                                                            "insufficient")));
}

TEST(CudaDevice, OutOfMemoryNamesNeedAndRest) {
  FakeCudaOptions options;
  options.memory_bytes = 4 * kMiB;
  FakeCuda fake(options);
  const auto device = Open(fake);
  const auto first = AllocateCuda(*device, 3 * kMiB, "weights");
  ASSERT_TRUE(first.ok());
  const absl::Status status = AllocateCuda(*device, 2 * kMiB, "KV blocks").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("KV blocks need 2.1 MB"), HasSubstr("1.0 MB are free"),
                    HasSubstr("out of memory")));
  EXPECT_EQ(device->api().last_error(), 0) << "running out of memory must leave no error behind";
  EXPECT_TRUE(AllocateCuda(*device, kMiB, "what still fits").ok());
}

TEST(CudaDevice, ErrorsCarryTheCallAndCudasWords) {
  FakeCuda fake;
  const auto device = Open(fake);
  EXPECT_TRUE(device->Check(0, "anything").ok());
  const absl::Status status = device->Check(700, "run a step");
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("GPU 0 (Fake GPU)"), HasSubstr("run a step"),
                    HasSubstr("an illegal memory access was encountered")));
}

TEST(CudaMemory, MovesAndGivesBackOnce) {
  FakeCuda fake;
  const auto device = Open(fake);
  {
    CudaMemory a = AllocateCuda(*device, 100, "a").value();
    void* const data = a.get();
    CudaMemory b = std::move(a);
    EXPECT_EQ(b.get(), data);
    EXPECT_TRUE(b.valid());
    EXPECT_EQ(fake.device_bytes(), 100);
    CudaMemory c = AllocateCuda(*device, 50, "c").value();
    EXPECT_EQ(fake.device_bytes(), 150);
    c = std::move(b);
    EXPECT_EQ(c.get(), data);
  }
  EXPECT_EQ(fake.device_bytes(), 0);
  EXPECT_EQ(fake.peak_device_bytes(), 150);
}

TEST(CudaMemory, NothingIsAskedForNothing) {
  FakeCuda fake;
  const auto device = Open(fake);
  fake.Freeze(true);
  EXPECT_FALSE(AllocateCuda(*device, 0, "nothing").value().valid());
  EXPECT_FALSE(AllocatePinned(*device, 0, "nothing").value().valid());
}

TEST(PinnedMemory, IsTakenAndGivenBack) {
  FakeCuda fake;
  const auto device = Open(fake);
  {
    const PinnedMemory pinned = AllocatePinned(*device, 4096, "staging").value();
    EXPECT_EQ(fake.pinned_bytes(), 4096);
    EXPECT_EQ(fake.device_bytes(), 0);
  }
  EXPECT_EQ(fake.pinned_bytes(), 0);
}

TEST(CudaStream, CopiesThereAndBack) {
  FakeCuda fake;
  const auto device = Open(fake);
  const CudaStream stream = MakeStream(*device).value();
  const CudaEvent done = MakeEvent(*device).value();
  const PinnedMemory pinned = AllocatePinned(*device, 16, "staging").value();
  const CudaMemory memory = AllocateCuda(*device, 8, "values").value();
  auto* values = static_cast<int64_t*>(pinned.get());
  values[0] = 42, values[1] = 0;
  EXPECT_EQ(device->api().copy(memory.get(), values, 8, stream.get()), 0);
  EXPECT_EQ(device->api().copy(values + 1, memory.get(), 8, stream.get()), 0);
  EXPECT_EQ(device->api().record_event(done.get(), stream.get()), 0);
  EXPECT_EQ(device->api().synchronize_event(done.get()), 0);
  EXPECT_EQ(values[1], 42);
}

}  // namespace
}  // namespace pamir::device
