// Logging. A line is for an operator: what happened and what to do. It never holds a prompt or
// generated text, and control bytes in it are escaped. Compose lines with absl::StrCat/StrFormat.
#ifndef PAMIR_BASE_LOG_H_
#define PAMIR_BASE_LOG_H_

#include <string>

namespace pamir {

enum class LogFormat { kText, kJson };

// Once, at the start of main. `component` ("coordinator", "worker 2") stands in every line.
// Lines go to standard error. Environment PAMIR_LOG_LEVEL: debug, info (default), warning, error.
void InitLogging(LogFormat format, const std::string& component);

// Changes the component, when a worker learns its rank.
void SetLogComponent(const std::string& component);

void LogDebug(const std::string& line);
void LogInfo(const std::string& line);
void LogWarning(const std::string& line);
void LogError(const std::string& line);

// `text` with control bytes written as \n, \t or \xNN, cut to `max_bytes`.
std::string EscapeForLog(const std::string& text, size_t max_bytes = 500);

}  // namespace pamir

#endif  // PAMIR_BASE_LOG_H_
