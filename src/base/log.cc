#include "base/log.h"

#include <cstdlib>
#include <memory>
#include <mutex>

#include "absl/strings/str_format.h"
#include "spdlog/sinks/stdout_color_sinks.h"
#include "spdlog/spdlog.h"

namespace pamir {
namespace {

std::mutex g_mutex;
LogFormat g_format = LogFormat::kText;
std::string g_component = "pamir";

spdlog::level::level_enum LevelFromEnvironment() {
  const char* name = std::getenv("PAMIR_LOG_LEVEL");
  return name == nullptr ? spdlog::level::info : spdlog::level::from_str(name);
}

spdlog::logger* Logger() {
  static const std::shared_ptr<spdlog::logger> logger = [] {
    auto made = spdlog::stderr_color_mt("pamir");
    made->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %^%-7l%$ %v", spdlog::pattern_time_type::utc);
    made->set_level(LevelFromEnvironment());
    made->flush_on(spdlog::level::info);
    return made;
  }();
  return logger.get();
}

std::string EscapeForJson(const std::string& text) {
  std::string out;
  for (const unsigned char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c < 0x20 || c == 0x7F) {
      out += absl::StrFormat("\\u%04x", c);
    } else {
      out += static_cast<char>(c);
    }
  }
  return out;
}

void Write(spdlog::level::level_enum level, const std::string& line) {
  if (!Logger()->should_log(level)) return;
  LogFormat format;
  std::string component;
  {
    const std::lock_guard<std::mutex> lock(g_mutex);
    format = g_format;
    component = g_component;
  }
  if (format == LogFormat::kText) {
    Logger()->log(level, "{}: {}", component, EscapeForLog(line, 4000));
  } else {
    Logger()->log(level, "{}\",\"message\":\"{}\"}}", EscapeForJson(component),
                  EscapeForJson(line));
  }
}

}  // namespace

void InitLogging(LogFormat format, const std::string& component) {
  {
    const std::lock_guard<std::mutex> lock(g_mutex);
    g_format = format;
    g_component = component;
  }
  if (format == LogFormat::kJson) {
    Logger()->set_pattern("{\"time\":\"%Y-%m-%dT%H:%M:%S.%eZ\",\"level\":\"%l\",\"component\":\"%v",
                          spdlog::pattern_time_type::utc);
  }
}

void SetLogComponent(const std::string& component) {
  const std::lock_guard<std::mutex> lock(g_mutex);
  g_component = component;
}

void LogDebug(const std::string& line) { Write(spdlog::level::debug, line); }
void LogInfo(const std::string& line) { Write(spdlog::level::info, line); }
void LogWarning(const std::string& line) { Write(spdlog::level::warn, line); }
void LogError(const std::string& line) { Write(spdlog::level::err, line); }

std::string EscapeForLog(const std::string& text, size_t max_bytes) {
  std::string out;
  for (const unsigned char c : text) {
    if (out.size() >= max_bytes) return out + "...";
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c < 0x20 || c == 0x7F) {
      out += absl::StrFormat("\\x%02x", c);
    } else {
      out += static_cast<char>(c);
    }
  }
  return out;
}

}  // namespace pamir
