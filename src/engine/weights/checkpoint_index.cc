#include "engine/weights/checkpoint_index.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "base/log.h"

namespace pamir::weights {
namespace {

using Json = nlohmann::json;

// Event by event, since a tree hides duplicate keys. What lies outside weight_map is passed over.
class IndexEvents final : public nlohmann::json_sax<Json> {
 public:
  std::vector<IndexEntry> entries;
  std::string error;
  bool found = false;

  bool start_object(size_t) override {
    if (InMap()) return Fail("an object");
    ++depth_;
    if (depth_ == 2 && map_is_next_) in_map_ = found = true;
    return true;
  }
  bool end_object() override {
    if (--depth_ == 1) in_map_ = false;
    return true;
  }
  bool start_array(size_t) override {
    if (InMap()) return Fail("an array");
    ++depth_;
    return true;
  }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool key(std::string& name) override {
    if (depth_ == 1) map_is_next_ = name == "weight_map";
    if (InMap()) entries.push_back({name, ""});
    return true;
  }
  bool string(std::string& value) override {
    if (InMap()) entries.back().shard = value;
    return true;
  }
  bool null() override { return !InMap() || Fail("null"); }
  bool boolean(bool) override { return !InMap() || Fail("true or false"); }
  bool number_integer(int64_t) override { return !InMap() || Fail("a number"); }
  bool number_unsigned(uint64_t) override { return !InMap() || Fail("a number"); }
  bool number_float(double, const std::string&) override { return !InMap() || Fail("a number"); }
  bool binary(binary_t&) override { return !InMap() || Fail("binary data"); }
  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    error = absl::StrCat("it is not valid JSON, at byte ", position);
    return false;
  }

 private:
  bool InMap() const { return in_map_ && depth_ == 2; }
  bool Fail(const std::string& what) {
    error = absl::StrCat("weight_map gives ", what, " for tensor \"",
                         EscapeForLog(entries.empty() ? "" : entries.back().tensor, 100),
                         "\"; it must be a file's name");
    return false;
  }

  int64_t depth_ = 0;
  bool map_is_next_ = false, in_map_ = false;
};

bool IsPlainFileName(const std::string& name) {
  return !name.empty() && name.size() <= 255 && name.find('/') == std::string::npos &&
         name.find('\0') == std::string::npos && name != "." && name != "..";
}

}  // namespace

absl::StatusOr<std::vector<IndexEntry>> ParseCheckpointIndex(const std::string& json) {
  IndexEvents events;
  if (!Json::sax_parse(json, &events)) return absl::InvalidArgumentError(events.error);
  if (!events.found) {
    return absl::InvalidArgumentError("it has no weight_map, which would name each tensor's file");
  }
  std::vector<IndexEntry>& entries = events.entries;
  std::sort(entries.begin(), entries.end(),
            [](const IndexEntry& a, const IndexEntry& b) { return a.tensor < b.tensor; });
  for (size_t i = 0; i < entries.size(); ++i) {
    const std::string tensor = EscapeForLog(entries[i].tensor, 100);
    if (i > 0 && entries[i].tensor == entries[i - 1].tensor) {
      return absl::InvalidArgumentError(
          absl::StrCat("weight_map names tensor \"", tensor, "\" twice"));
    }
    if (!IsPlainFileName(entries[i].shard)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "weight_map puts tensor \"", tensor, "\" into \"", EscapeForLog(entries[i].shard, 100),
          "\"; it must be the plain name of a file in the same directory"));
    }
  }
  return std::move(entries);
}

}  // namespace pamir::weights
