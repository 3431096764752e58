// SPDX-License-Identifier: Apache-2.0
#include "tessera/base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <array>
#include <atomic>
#include <cstdlib>

namespace tessera {
namespace {

constexpr std::array<std::string_view, 5> kNames = {"debug", "info", "warn", "error", "off"};

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::debug: return spdlog::level::debug;
    case LogLevel::info: return spdlog::level::info;
    case LogLevel::warn: return spdlog::level::warn;
    case LogLevel::error: return spdlog::level::err;
    case LogLevel::off: break;
  }
  return spdlog::level::off;
}

// Never destroyed: threads may log while the program ends.
spdlog::logger& logger() {
  static spdlog::logger* const instance = [] {
    auto* created =
        new spdlog::logger("tessera", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
    created->set_pattern("%^%L %H:%M:%S.%e%$ %v [%s:%#]");
    created->set_level(spdlog::level::trace);  // filtered by log_enabled
    created->flush_on(spdlog::level::trace);
    return created;
  }();
  return *instance;
}

LogLevel level_from_environment() {
  const char* text = std::getenv("TESSERA_LOG");
  if (text == nullptr || *text == '\0') return LogLevel::info;
  for (size_t i = 0; i < kNames.size(); ++i)
    if (kNames[i] == text) return static_cast<LogLevel>(i);
  log_message(LogLevel::warn,
              fmt::format("TESSERA_LOG={} is none of debug, info, warn, error, off", text),
              std::source_location::current());
  return LogLevel::info;
}

std::atomic<LogLevel>& current_level() {
  static std::atomic<LogLevel> level{level_from_environment()};
  return level;
}

}  // namespace

void set_log_prefix(std::string_view prefix) {
  logger().set_pattern(fmt::format("[{}] %^%L %H:%M:%S.%e%$ %v [%s:%#]", prefix));
}

LogLevel log_level() { return current_level().load(std::memory_order_relaxed); }
void set_log_level(LogLevel level) { current_level().store(level, std::memory_order_relaxed); }

void log_message(LogLevel level, std::string_view message, std::source_location where) {
  logger().log(
      spdlog::source_loc{where.file_name(), static_cast<int>(where.line()), where.function_name()},
      to_spdlog(level), spdlog::string_view_t(message.data(), message.size()));
}

}  // namespace tessera
