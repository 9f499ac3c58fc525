#include "engine/weights/safetensors_header.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/log.h"
#include "base/status_macros.h"

namespace pamir::weights {
namespace {

using Json = nlohmann::json;

std::optional<DType> DTypeOf(const std::string& name) {
  if (name == "F16") return DType::kFloat16;
  if (name == "BF16") return DType::kBFloat16;
  if (name == "F32") return DType::kFloat32;
  return std::nullopt;
}

// Names come from a file that may hold anything: they go into messages escaped and cut.
std::string Quoted(const std::string& name) { return "\"" + EscapeForLog(name, 100) + "\""; }

// One tensor while its fields arrive. Offsets are still those of the header, from the data's begin.
struct Entry {
  std::string name;
  std::optional<std::string> dtype;
  std::optional<std::vector<uint64_t>> shape, offsets;
};

// Reads event by event, since a tree would hide duplicate keys and take ten times the memory.
// Depth 1: tensor names; depth 2: their fields (or the strings of __metadata__); arrays below.
class HeaderEvents final : public nlohmann::json_sax<Json> {
 public:
  std::vector<Entry>& entries() { return entries_; }
  const std::string& error() const { return error_; }

  bool start_object(size_t) override {
    if (depth_ == 2) return Unexpected("an object");
    ++depth_;
    return true;
  }

  bool key(std::string& name) override {
    if (depth_ == 1) return BeginEntry(name);
    if (in_metadata_) return true;
    Entry& entry = entries_.back();
    const bool again = (name == "dtype" && entry.dtype.has_value()) ||
                       (name == "shape" && entry.shape.has_value()) ||
                       (name == "data_offsets" && entry.offsets.has_value());
    if (again) return Fail(absl::StrCat("field ", name, " stands there twice"));
    if (name != "dtype" && name != "shape" && name != "data_offsets") {
      return Fail(absl::StrCat("unknown field ", Quoted(name),
                               "; there must be dtype, shape and data_offsets"));
    }
    field_ = name;
    return true;
  }

  bool end_object() override {
    --depth_;
    if (depth_ != 1) return true;
    if (!in_metadata_) {
      const Entry& entry = entries_.back();
      if (!entry.dtype) return Fail("dtype is missing");
      if (!entry.shape) return Fail("shape is missing");
      if (!entry.offsets) return Fail("data_offsets are missing");
    }
    in_metadata_ = false;
    return true;
  }

  bool string(std::string& value) override {
    if (depth_ != 2 || array_ != nullptr) return Unexpected("a string");
    if (in_metadata_) return true;
    if (field_ != "dtype") return Unexpected("a string");
    entries_.back().dtype = value;
    return true;
  }

  bool start_array(size_t) override {
    if (depth_ != 2 || in_metadata_ || array_ != nullptr || field_ == "dtype") {
      return Unexpected("an array");
    }
    auto& place = field_ == "shape" ? entries_.back().shape : entries_.back().offsets;
    array_ = &place.emplace();
    return true;
  }

  bool end_array() override {
    array_ = nullptr;
    return true;
  }

  bool number_unsigned(uint64_t value) override {
    if (array_ == nullptr) return Unexpected("a number");
    if (array_->size() >= kMaxTensorDims) {
      return Fail(absl::StrCat(field_, " has more than ", kMaxTensorDims, " numbers"));
    }
    array_->push_back(value);
    return true;
  }

  bool number_integer(int64_t) override { return Unexpected("a negative number"); }
  bool number_float(double, const std::string&) override { return Unexpected("a fraction"); }
  bool boolean(bool) override { return Unexpected("true or false"); }
  bool null() override { return Unexpected("null"); }
  bool binary(binary_t&) override { return Unexpected("binary data"); }

  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    error_ = absl::StrCat("the header is not valid JSON, at byte ", position, " of it");
    return false;
  }

 private:
  bool BeginEntry(const std::string& name) {
    in_metadata_ = name == "__metadata__";
    if (in_metadata_) {
      if (metadata_seen_) return Fail("__metadata__ stands there twice");
      metadata_seen_ = true;
      return true;
    }
    entries_.push_back({name, {}, {}, {}});
    if (name.size() <= kMaxTensorNameBytes) return true;
    return Fail(absl::StrCat("its name has ", name.size(), " bytes; at most ", kMaxTensorNameBytes,
                             " are read"));
  }

  bool Unexpected(const char* what) {
    if (depth_ == 0) return Fail(absl::StrCat("the header is ", what, "; it must be an object"));
    return Fail(absl::StrCat(what, " stands where it must not",
                             depth_ == 2 && !in_metadata_ ? " (" + field_ + ")" : ""));
  }

  bool Fail(const std::string& what) {
    const bool inside = depth_ > 0 && !in_metadata_ && !entries_.empty();
    error_ = inside ? absl::StrCat("tensor ", Quoted(entries_.back().name), ": ", what)
                    : absl::StrCat(in_metadata_ ? "__metadata__: " : "", what);
    return false;
  }

  std::vector<Entry> entries_;
  std::string error_, field_;
  std::vector<uint64_t>* array_ = nullptr;  // the one being filled
  int depth_ = 0;
  bool in_metadata_ = false, metadata_seen_ = false;
};

absl::Status TensorError(const std::string& name, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat("tensor ", Quoted(name), ": ", what));
}

// shape x dtype must be the byte range, and the range within the file.
absl::StatusOr<StoredTensor> CheckEntry(const Entry& entry, int64_t data_begin, int64_t file_size) {
  const std::optional<DType> dtype = DTypeOf(*entry.dtype);
  if (!dtype) {
    return TensorError(entry.name, absl::StrCat("dtype is ", Quoted(*entry.dtype),
                                                "; F16, BF16 and F32 are understood"));
  }
  if (entry.offsets->size() != 2) {
    return TensorError(entry.name, absl::StrCat("data_offsets are ", entry.offsets->size(),
                                                " numbers; there must be 2"));
  }
  const uint64_t begin = (*entry.offsets)[0], end = (*entry.offsets)[1];
  const uint64_t data_bytes = static_cast<uint64_t>(file_size - data_begin);
  if (begin > end) {
    return TensorError(entry.name,
                       absl::StrCat("its data ends at ", end, ", before it begins at ", begin));
  }
  if (end > data_bytes) {
    return TensorError(entry.name, absl::StrCat("its data ends at byte ", end, " of ", data_bytes,
                                                " that the file holds; the file is cut off"));
  }
  uint64_t bytes = SizeOf(*dtype);
  for (const uint64_t size : *entry.shape) {
    if (__builtin_mul_overflow(bytes, size, &bytes)) bytes = UINT64_MAX;
  }
  if (bytes != end - begin || bytes == UINT64_MAX) {
    return TensorError(entry.name,
                       absl::StrCat("shape [", absl::StrJoin(*entry.shape, ", "), "] of ",
                                    *entry.dtype, " does not fill its ", end - begin, " bytes"));
  }
  StoredTensor tensor{entry.name, {*dtype, {}}, 0, 0};
  for (const uint64_t size : *entry.shape) {
    // A zero elsewhere in the shape lets the others be anything; sizes must still be sane.
    if (size > static_cast<uint64_t>(INT64_MAX)) return TensorError(entry.name, "absurd shape");
    tensor.info.shape.push_back(static_cast<int64_t>(size));
  }
  tensor.begin = data_begin + static_cast<int64_t>(begin);
  tensor.end = data_begin + static_cast<int64_t>(end);
  return tensor;
}

absl::Status CheckOverlaps(const std::vector<StoredTensor>& tensors) {
  std::vector<const StoredTensor*> order;
  for (const StoredTensor& tensor : tensors) {
    if (tensor.begin < tensor.end) order.push_back(&tensor);
  }
  std::sort(order.begin(), order.end(),
            [](const auto* a, const auto* b) { return a->begin < b->begin; });
  for (size_t i = 1; i < order.size(); ++i) {
    if (order[i]->begin < order[i - 1]->end) {
      return TensorError(order[i]->name, "its data overlaps that of " + Quoted(order[i - 1]->name));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<int64_t> HeaderLength(const uint8_t* first_bytes, int64_t file_size) {
  if (file_size < kHeaderLengthBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the file has ", file_size, " bytes; a safetensors file begins with 8 bytes of length"));
  }
  uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | first_bytes[i];
  if (length > static_cast<uint64_t>(kMaxHeaderBytes)) {
    return absl::InvalidArgumentError(absl::StrCat("its header would have ", length,
                                                   " bytes; at most ", kMaxHeaderBytes,
                                                   " are read. Is it a safetensors file?"));
  }
  if (static_cast<int64_t>(length) > file_size - kHeaderLengthBytes) {
    return absl::InvalidArgumentError(absl::StrCat("its header would have ", length,
                                                   " bytes, but the file has only ", file_size,
                                                   "; it is cut off"));
  }
  return static_cast<int64_t>(length);
}

absl::StatusOr<std::vector<StoredTensor>> ParseSafetensorsHeader(const std::string& json,
                                                                 int64_t file_size) {
  if (file_size - kHeaderLengthBytes < static_cast<int64_t>(json.size())) {
    return absl::InvalidArgumentError("the file is shorter than its header");
  }
  HeaderEvents events;
  if (!Json::sax_parse(json, &events)) return absl::InvalidArgumentError(events.error());
  const int64_t data_begin = kHeaderLengthBytes + static_cast<int64_t>(json.size());
  std::vector<StoredTensor> tensors;
  tensors.reserve(events.entries().size());
  for (const Entry& entry : events.entries()) {
    PAMIR_ASSIGN_OR_RETURN(StoredTensor tensor, CheckEntry(entry, data_begin, file_size));
    tensors.push_back(std::move(tensor));
  }
  std::sort(tensors.begin(), tensors.end(),
            [](const StoredTensor& a, const StoredTensor& b) { return a.name < b.name; });
  for (size_t i = 1; i < tensors.size(); ++i) {
    if (tensors[i].name == tensors[i - 1].name) {
      return TensorError(tensors[i].name, "it stands there twice");
    }
  }
  PAMIR_RETURN_IF_ERROR(CheckOverlaps(tensors));
  return tensors;
}

}  // namespace pamir::weights
