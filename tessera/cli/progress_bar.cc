// SPDX-License-Identifier: Apache-2.0
#include "tessera/cli/progress_bar.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace tessera::cli {
namespace {

constexpr auto kInterval = std::chrono::milliseconds(50);

size_t terminal_width() {
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

bool draws() {
  const char* terminal = std::getenv("TERM");
  return ::isatty(STDERR_FILENO) != 0 && terminal != nullptr &&
         std::string_view(terminal) != "dumb";
}

}  // namespace

ProgressBar::ProgressBar(bool enabled) : enabled_(enabled && draws()) {}

void ProgressBar::update(std::string_view what, size_t done, size_t total) {
  if (!enabled_ || total == 0) return;
  const auto now = std::chrono::steady_clock::now();
  if (drawn_ && done < total && now - last_ < kInterval) return;
  last_ = now;
  drawn_ = true;
  const std::string count = fmt::format(" {}/{}", done, total);
  const size_t width = terminal_width() - 1;
  const size_t label = std::min(what.size(), width / 2);
  const size_t fixed = label + 3 + count.size();
  const size_t cells = width > fixed + 8 ? std::min<size_t>(40, width - fixed) : 0;
  const size_t full = std::min(done, total) * cells / total;
  std::string line(what.substr(0, label));
  if (cells > 0) line += " [" + std::string(full, '#') + std::string(cells - full, '.') + "]";
  fmt::print(stderr, "\r\x1b[K{}{}", line, count);
  std::fflush(stderr);
}

void ProgressBar::clear() {
  if (!drawn_) return;
  fmt::print(stderr, "\r\x1b[K");
  std::fflush(stderr);
  drawn_ = false;
}

}  // namespace tessera::cli
