// SPDX-License-Identifier: Apache-2.0
// A line on the terminal that says how far something is. Silent when stderr is not a terminal.
#pragma once

#include <chrono>
#include <cstddef>
#include <string_view>

namespace tessera::cli {

class ProgressBar {
 public:
  /// `enabled` false: never draws.
  explicit ProgressBar(bool enabled = true);
  ~ProgressBar() { clear(); }
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  /// Redraws at most every 50 ms, and for the last step.
  void update(std::string_view what, size_t done, size_t total);
  /// Removes the line; call before printing anything else.
  void clear();

 private:
  bool enabled_;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point last_{};
};

}  // namespace tessera::cli
