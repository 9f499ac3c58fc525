#include "engine/comm/connect_blobs.h"

#include <cstring>
#include <limits>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace pamir::comm {
namespace {

constexpr uint32_t kHelloMagic = 0x32'48'4d'50;  // the last byte is the version of this format
constexpr uint32_t kOfferMagic = 0x32'4f'4d'50;

// Integers little-endian, as all hosts that Pamir runs on have them; strings and lists behind their
// length.
class Writer {
 public:
  template <typename T>
  void Put(T value) {
    static_assert(std::is_integral_v<T>);
    char bytes[sizeof(T)];
    std::memcpy(bytes, &value, sizeof(T));
    out_.append(bytes, sizeof(T));
  }
  void PutString(const std::string& s) {
    Put(static_cast<uint32_t>(s.size()));
    out_ += s;
  }
  std::string Take() { return std::move(out_); }

 private:
  std::string out_;
};

// Stays bad after the first thing that does not fit, so that one check at the end is enough.
class Reader {
 public:
  explicit Reader(const std::string& bytes) : bytes_(bytes) {}

  template <typename T>
  T Get() {
    T value{};
    if (bytes_.size() - at_ < sizeof(T)) {
      good_ = false;
      return value;
    }
    std::memcpy(&value, bytes_.data() + at_, sizeof(T));
    at_ += sizeof(T);
    return value;
  }

  // A count or an enumerator: 0 to `limit`.
  uint32_t GetUpTo(size_t limit) {
    const uint32_t value = Get<uint32_t>();
    if (value > limit) good_ = false;
    return good_ ? value : 0;
  }

  std::string GetString(size_t limit) {
    const uint32_t size = GetUpTo(limit);
    if (bytes_.size() - at_ < size) {
      good_ = false;
      return "";
    }
    at_ += size;
    return bytes_.substr(at_ - size, size);
  }

  void Want(bool holds) { good_ = good_ && holds; }

  absl::Status Finish(const char* what) const {
    if (good_ && at_ == bytes_.size()) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("a malformed ", what, " of ", bytes_.size(),
                                                   " bytes: not a Pamir rank of this version?"));
  }

 private:
  const std::string& bytes_;
  size_t at_ = 0;
  bool good_ = true;
};

void PutMeeting(Writer& writer, const Meeting& meeting) {
  writer.Put(static_cast<int32_t>(meeting.segment_fd));
  writer.Put(static_cast<uint32_t>(meeting.addresses.size()));
  for (const std::string& address : meeting.addresses) writer.PutString(address);
  writer.PutString(meeting.nccl_id);
}

Meeting GetMeeting(Reader& reader) {
  Meeting meeting;
  meeting.segment_fd = reader.Get<int32_t>();
  reader.Want(meeting.segment_fd >= -1);
  const uint32_t addresses = reader.GetUpTo(kMaxWorldRanks);
  for (uint32_t i = 0; i < addresses; ++i) {
    meeting.addresses.push_back(reader.GetString(kMaxAddressBytes));
  }
  meeting.nccl_id = reader.GetString(kMaxNcclIdBytes);
  return meeting;
}

}  // namespace

std::string Encode(const Hello& hello) {
  Writer writer;
  writer.Put(kHelloMagic);
  writer.Put(static_cast<int32_t>(hello.pid));
  writer.PutString(hello.host);
  writer.PutString(hello.loopback);
  writer.Put(static_cast<uint32_t>(hello.has_interface));
  writer.PutString(hello.machine);
  writer.PutString(hello.device_bus_id);
  writer.Put(static_cast<int32_t>(hello.nccl_version));
  writer.PutString(hello.nccl_problem.substr(0, kMaxReasonBytes));
  writer.Put(static_cast<int32_t>(hello.world_rank));
  writer.Put(static_cast<uint32_t>(hello.transport));
  writer.Put(hello.max_message_bytes);
  writer.Put(static_cast<uint32_t>(hello.stage_of_rank.size()));
  for (int stage : hello.stage_of_rank) writer.Put(static_cast<int32_t>(stage));
  return writer.Take();
}

absl::StatusOr<Hello> DecodeHello(const std::string& bytes) {
  Reader reader(bytes);
  Hello hello;
  reader.Want(reader.Get<uint32_t>() == kHelloMagic);
  hello.pid = reader.Get<int32_t>();
  reader.Want(hello.pid > 0);
  hello.host = reader.GetString(kMaxIdentityBytes);
  hello.loopback = reader.GetString(kMaxIdentityBytes);
  hello.has_interface = reader.GetUpTo(1) == 1;
  hello.machine = reader.GetString(kMaxIdentityBytes);
  hello.device_bus_id = reader.GetString(kMaxIdentityBytes);
  hello.nccl_version = reader.Get<int32_t>();
  hello.nccl_problem = reader.GetString(kMaxReasonBytes);
  hello.world_rank = reader.Get<int32_t>();
  hello.transport = static_cast<Transport>(reader.GetUpTo(static_cast<size_t>(Transport::kStaged)));
  hello.max_message_bytes = reader.Get<int64_t>();
  const uint32_t ranks = reader.GetUpTo(kMaxWorldRanks);
  for (uint32_t i = 0; i < ranks; ++i) hello.stage_of_rank.push_back(reader.Get<int32_t>());
  PAMIR_RETURN_IF_ERROR(reader.Finish("greeting"));
  return hello;
}

std::string Encode(const Offer& offer) {
  Writer writer;
  writer.Put(kOfferMagic);
  PutMeeting(writer, offer.stage);
  PutMeeting(writer, offer.world);
  return writer.Take();
}

absl::StatusOr<Offer> DecodeOffer(const std::string& bytes) {
  Reader reader(bytes);
  Offer offer;
  reader.Want(reader.Get<uint32_t>() == kOfferMagic);
  offer.stage = GetMeeting(reader);
  offer.world = GetMeeting(reader);
  PAMIR_RETURN_IF_ERROR(reader.Finish("offer"));
  return offer;
}

std::string EncodeEnvelope(const absl::StatusOr<std::string>& payload) {
  Writer writer;
  writer.Put(static_cast<uint32_t>(payload.status().code()));
  const std::string error(payload.status().message());
  writer.PutString(payload.ok() ? *payload : error.substr(0, kMaxReasonBytes));
  return writer.Take();
}

absl::StatusOr<std::string> DecodeEnvelope(const std::string& bytes) {
  Reader reader(bytes);
  const uint32_t code = reader.GetUpTo(static_cast<size_t>(absl::StatusCode::kUnauthenticated));
  std::string text =
      reader.GetString(code == 0 ? std::numeric_limits<uint32_t>::max() : kMaxReasonBytes);
  PAMIR_RETURN_IF_ERROR(reader.Finish("message"));
  if (code != 0) return absl::Status(static_cast<absl::StatusCode>(code), text);
  return text;
}

}  // namespace pamir::comm
