#include "cluster/wire/credentials.h"

#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace pamir::wire {
namespace {

constexpr size_t kMaxPemBytes = 1 << 20;

absl::StatusOr<std::string> ReadPem(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat("cannot read the TLS file ", path));
  std::string pem(kMaxPemBytes + 1, '\0');
  file.read(pem.data(), static_cast<std::streamsize>(pem.size()));
  pem.resize(static_cast<size_t>(file.gcount()));
  if (pem.size() > kMaxPemBytes || pem.find("-----BEGIN") == std::string::npos) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is not a PEM file"));
  }
  return pem;
}

struct Pems {
  std::string certificate, key, ca;
};

absl::StatusOr<Pems> ReadAll(const TlsFiles& tls) {
  Pems pems;
  PAMIR_ASSIGN_OR_RETURN(pems.certificate, ReadPem(tls.certificate));
  PAMIR_ASSIGN_OR_RETURN(pems.key, ReadPem(tls.key));
  PAMIR_ASSIGN_OR_RETURN(pems.ca, ReadPem(tls.ca));
  return pems;
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeServerCredentials(
    const TlsFiles& tls) {
  if (!tls.given()) return grpc::InsecureServerCredentials();
  PAMIR_ASSIGN_OR_RETURN(const Pems pems, ReadAll(tls));
  grpc::SslServerCredentialsOptions options(
      GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_root_certs = pems.ca;
  options.pem_key_cert_pairs.push_back({pems.key, pems.certificate});
  return grpc::SslServerCredentials(options);
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> MakeClientCredentials(
    const TlsFiles& tls) {
  if (!tls.given()) return grpc::InsecureChannelCredentials();
  PAMIR_ASSIGN_OR_RETURN(const Pems pems, ReadAll(tls));
  return grpc::SslCredentials({pems.ca, pems.key, pems.certificate});
}

}  // namespace pamir::wire
