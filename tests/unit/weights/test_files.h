// Small checkpoints in a directory of their own, good and broken.
#ifndef PAMIR_TESTS_UNIT_WEIGHTS_TEST_FILES_H_
#define PAMIR_TESTS_UNIT_WEIGHTS_TEST_FILES_H_

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "gtest/gtest.h"

namespace pamir::weights {

class TempDirectory {
 public:
  TempDirectory() {
    std::string pattern = testing::TempDir() + "/pamir_weights_XXXXXX";
    EXPECT_NE(mkdtemp(pattern.data()), nullptr);
    path_ = pattern;
  }
  ~TempDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

  void Write(const std::string& name, const std::string& bytes) const {
    std::ofstream out(*this / name, std::ios::binary);
    out << bytes;
    ASSERT_TRUE(out.good()) << name;
  }

 private:
  std::string path_;
};

inline std::string LittleEndian64(uint64_t value) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(value >> (8 * i) & 0xFF));
  return bytes;
}

// A safetensors file of this header and so many bytes of data, counting up.
inline std::string FileOf(const std::string& header, int64_t data_bytes) {
  std::string file = LittleEndian64(header.size()) + header;
  for (int64_t i = 0; i < data_bytes; ++i) file.push_back(static_cast<char>(i & 0x3F));
  return file;
}

}  // namespace pamir::weights

#endif  // PAMIR_TESTS_UNIT_WEIGHTS_TEST_FILES_H_
