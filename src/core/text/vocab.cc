#include "core/text/vocab.h"

#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "core/text/quote.h"
#include "nlohmann/json.hpp"

namespace pamir::text {
namespace {

using Json = nlohmann::json;

absl::Status Bad(const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat("vocab.json: ", what));
}

// Takes the parser's events one by one: a parsed nlohmann::json would keep only one of two equal
// keys, silently.
class VocabReader : public nlohmann::json_sax<Json> {
 public:
  bool start_object(std::size_t) override {
    if (started_) return WrongValue("an object");
    started_ = true;
    return true;
  }
  bool end_object() override { return true; }

  bool key(string_t& token) override {
    key_ = token;
    if (token.empty()) return Fail("an entry has an empty token");
    if (token.size() > kMaxTokenBytes) {
      return Fail(
          absl::StrCat("token ", Quote(token), " is longer than ", kMaxTokenBytes, " bytes"));
    }
    if (ids_.size() == kMaxVocabEntries) {
      return Fail(absl::StrCat("more than ", kMaxVocabEntries, " entries"));
    }
    return true;
  }

  bool number_unsigned(number_unsigned_t id) override {
    if (!started_) return WrongValue("a number");
    if (id >= kMaxVocabEntries) {
      return Fail(absl::StrCat("token ", Quote(key_), " has id ", id, "; ids are below ",
                               kMaxVocabEntries));
    }
    const auto [entry, is_new] = ids_.try_emplace(key_, static_cast<TokenId>(id));
    if (is_new) return true;
    return Fail(absl::StrCat("token ", Quote(key_), " is there twice, with the ids ", entry->second,
                             " and ", id));
  }
  bool number_integer(number_integer_t id) override {
    if (!started_) return WrongValue("a number");
    return Fail(absl::StrCat("token ", Quote(key_), " has the negative id ", id));
  }

  bool null() override { return WrongValue("null"); }
  bool boolean(bool) override { return WrongValue("a boolean"); }
  bool number_float(number_float_t, const string_t& text) override {
    return WrongValue(absl::StrCat("the number ", Quote(text)));
  }
  bool string(string_t& text) override {
    return WrongValue(absl::StrCat("the string ", Quote(text)));
  }
  bool binary(binary_t&) override { return WrongValue("binary data"); }
  bool start_array(std::size_t) override { return WrongValue("an array"); }
  bool end_array() override { return true; }

  bool parse_error(std::size_t position, const std::string& last_token,
                   const nlohmann::detail::exception&) override {
    return Fail(absl::StrCat("not valid JSON at byte ", position, ", near ", Quote(last_token)));
  }

  absl::StatusOr<absl::flat_hash_map<std::string, TokenId>> TakeIds() && {
    if (!status_.ok()) return status_;
    return std::move(ids_);
  }

 private:
  bool Fail(const std::string& what) {
    status_ = Bad(what);
    return false;
  }
  bool WrongValue(const std::string& what) {
    if (!started_) return Fail(absl::StrCat("expected one object of token: id, found ", what));
    return Fail(
        absl::StrCat("token ", Quote(key_), " must have a whole number as its id, not ", what));
  }

  bool started_ = false;
  std::string key_;
  absl::flat_hash_map<std::string, TokenId> ids_;
  absl::Status status_;
};

// Tokens by id; every id from 0 to entries - 1 exactly once.
absl::StatusOr<std::vector<std::string>> TokensById(
    const absl::flat_hash_map<std::string, TokenId>& ids) {
  std::vector<std::string> tokens(ids.size());
  for (const auto& [token, id] : ids) {
    if (static_cast<size_t>(id) >= tokens.size()) {
      return Bad(absl::StrCat("token ", Quote(token), " has id ", id, "; with ", ids.size(),
                              " entries the ids must be 0 to ", ids.size() - 1,
                              ", each exactly once"));
    }
    std::string& place = tokens[static_cast<size_t>(id)];
    if (!place.empty()) {
      return Bad(
          absl::StrCat("tokens ", Quote(place), " and ", Quote(token), " both have id ", id));
    }
    place = token;
  }
  return tokens;
}

}  // namespace

TokenId Vocab::Find(const std::string& token) const {
  const auto entry = ids.find(token);
  return entry == ids.end() ? -1 : entry->second;
}

absl::StatusOr<Vocab> ParseVocab(const std::string& vocab_json) {
  if (vocab_json.size() > kMaxVocabJsonBytes) {
    return Bad(
        absl::StrCat(vocab_json.size(), " bytes; at most ", kMaxVocabJsonBytes, " are read"));
  }
  VocabReader reader;
  Json::sax_parse(vocab_json, &reader);
  Vocab vocab;
  PAMIR_ASSIGN_OR_RETURN(vocab.ids, std::move(reader).TakeIds());
  if (vocab.ids.empty()) return Bad("there are no entries");
  PAMIR_ASSIGN_OR_RETURN(vocab.tokens, TokensById(vocab.ids));
  return vocab;
}

}  // namespace pamir::text
