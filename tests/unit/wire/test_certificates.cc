#include "unit/wire/test_certificates.h"

#include <cstdlib>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace pamir::testing {
namespace {

void RunIn(const std::string& folder, const std::string& command) {
  const int rc = std::system(absl::StrCat("cd '", folder, "' && ", command, " >log 2>&1").c_str());
  PAMIR_CHECK(rc == 0, absl::StrCat(command, " failed, see ", folder, "/log"));
}

}  // namespace

TestCertificates::TestCertificates() {
  std::string pattern = (std::filesystem::temp_directory_path() / "pamir-tls-XXXXXX").string();
  PAMIR_CHECK(mkdtemp(pattern.data()) != nullptr, "no temporary folder");
  folder_ = pattern;
  const std::string key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes ";
  RunIn(folder_, absl::StrCat("openssl req -x509 ", key,
                              "-keyout ca.key -out ca.pem -subj /CN=test-ca -days 2"));
  RunIn(folder_,
        absl::StrCat("openssl req ", key, "-keyout key.pem -out request.pem -subj /CN=pamir"));
  RunIn(folder_, "{ echo subjectAltName=IP:127.0.0.1,DNS:localhost > names; }");
  RunIn(folder_,
        "openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial "
        "-out cert.pem -days 2 -extfile names");
}

TestCertificates::~TestCertificates() { std::filesystem::remove_all(folder_); }

wire::TlsFiles TestCertificates::files() const {
  return {
      .certificate = folder_ + "/cert.pem", .key = folder_ + "/key.pem", .ca = folder_ + "/ca.pem"};
}

}  // namespace pamir::testing
