// Early return for absl::Status and absl::StatusOr (Debian's abseil has no status macros).
#ifndef PAMIR_BASE_STATUS_MACROS_H_
#define PAMIR_BASE_STATUS_MACROS_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define PAMIR_RETURN_IF_ERROR(expr)                                                       \
  do {                                                                                    \
    if (::absl::Status pamir_status_ = (expr); !pamir_status_.ok()) return pamir_status_; \
  } while (false)

#define PAMIR_CONCAT_INNER_(a, b) a##b
#define PAMIR_CONCAT_(a, b) PAMIR_CONCAT_INNER_(a, b)

// PAMIR_ASSIGN_OR_RETURN(auto x, MakeX());
#define PAMIR_ASSIGN_OR_RETURN(lhs, expr) \
  PAMIR_ASSIGN_OR_RETURN_IMPL_(PAMIR_CONCAT_(pamir_statusor_, __LINE__), lhs, expr)
#define PAMIR_ASSIGN_OR_RETURN_IMPL_(tmp, lhs, expr) \
  auto tmp = (expr);                                 \
  if (!tmp.ok()) return std::move(tmp).status();     \
  lhs = std::move(tmp).value()

#endif  // PAMIR_BASE_STATUS_MACROS_H_
