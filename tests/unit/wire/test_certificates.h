// Certificates for tests, made by the openssl program in a folder of the test's own.
#ifndef PAMIR_TESTS_UNIT_WIRE_TEST_CERTIFICATES_H_
#define PAMIR_TESTS_UNIT_WIRE_TEST_CERTIFICATES_H_

#include <string>

#include "cluster/wire/address.h"

namespace pamir::testing {

// An authority and one certificate for 127.0.0.1 that it signed.
class TestCertificates {
 public:
  TestCertificates();
  ~TestCertificates();

  wire::TlsFiles files() const;

 private:
  std::string folder_;
};

}  // namespace pamir::testing

#endif  // PAMIR_TESTS_UNIT_WIRE_TEST_CERTIFICATES_H_
