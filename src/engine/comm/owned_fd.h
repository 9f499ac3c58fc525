#ifndef PAMIR_ENGINE_COMM_OWNED_FD_H_
#define PAMIR_ENGINE_COMM_OWNED_FD_H_

#include <unistd.h>

#include <utility>

namespace pamir::comm {

// A file descriptor that is closed with its owner; negative: none.
class OwnedFd {
 public:
  OwnedFd() = default;
  explicit OwnedFd(int fd) : fd_(fd) {}
  ~OwnedFd() {
    if (fd_ >= 0) close(fd_);
  }
  OwnedFd(OwnedFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  OwnedFd& operator=(OwnedFd&& other) noexcept {
    if (this != &other) {
      if (fd_ >= 0) close(fd_);
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }
  int get() const { return fd_; }

 private:
  int fd_ = -1;
};

}  // namespace pamir::comm

#endif  // PAMIR_ENGINE_COMM_OWNED_FD_H_
