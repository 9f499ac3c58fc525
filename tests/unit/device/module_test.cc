// Where the GPU back end is looked for, and what is said where it cannot be opened.
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "support/process.h"

namespace pamir::device {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// What the probe prints where PAMIR_CUDA_MODULE is `module` (null: not set).
std::string Opened(const char* module) {
  std::vector<std::string> argv = {"/usr/bin/env", "-u", "PAMIR_CUDA_MODULE"};
  if (module != nullptr) argv.push_back(std::string("PAMIR_CUDA_MODULE=") + module);
  argv.push_back(PAMIR_TEST_PROBE);
  const testing::Finished finished = testing::RunToEnd(argv);
  EXPECT_EQ(finished.status, 0) << finished.errors;
  return finished.output;
}

TEST(CudaModule, WithoutOneTheBuildIsNamed) {
  EXPECT_THAT(Opened(nullptr), AllOf(HasSubstr("NOT_FOUND"), HasSubstr("no GPU back end"),
                                     HasSubstr("pamir_cuda.so is not beside the program")));
}

TEST(CudaModule, APathThatIsNotThereIsNamed) {
  EXPECT_THAT(Opened("/nowhere/pamir_cuda.so"),
              AllOf(HasSubstr("FAILED_PRECONDITION"), HasSubstr("cannot be opened"),
                    HasSubstr("/nowhere/pamir_cuda.so")));
}

TEST(CudaModule, AFileThatIsNoModuleIsNamed) {
  testing::TemporaryDirectory directory;
  const std::string path = directory.path() + "/pamir_cuda.so";
  std::ofstream(path) << "not an ELF file\n";
  EXPECT_THAT(Opened(path.c_str()), AllOf(HasSubstr("FAILED_PRECONDITION"),
                                          HasSubstr("cannot be opened"), HasSubstr(path)));
}

TEST(CudaModule, ALibraryOfSomethingElseIsRefused) {
  EXPECT_THAT(Opened(PAMIR_TEST_NO_MODULE),
              AllOf(HasSubstr("FAILED_PRECONDITION"), HasSubstr(PAMIR_TEST_NO_MODULE),
                    HasSubstr("another build")));
}

TEST(CudaModule, AnotherVersionIsRefused) {
  EXPECT_THAT(Opened(PAMIR_TEST_OLD_MODULE),
              AllOf(HasSubstr("FAILED_PRECONDITION"), HasSubstr(PAMIR_TEST_OLD_MODULE),
                    HasSubstr("another build of Pamir: build both together")));
}

TEST(CudaModule, ThisVersionIsOpened) {
  EXPECT_EQ(Opened(PAMIR_TEST_MODULE), "opened: the module of a test\n");
}

TEST(CudaModule, TheFakeDeviceIsOneToo) {
  EXPECT_EQ(Opened(PAMIR_TEST_FAKE_MODULE), "opened: no error\n");
}

}  // namespace
}  // namespace pamir::device
