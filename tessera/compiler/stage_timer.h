// SPDX-License-Identifier: Apache-2.0
// Milliseconds of each stage of one compilation.
#pragma once

#include <chrono>
#include <string_view>
#include <utility>
#include <vector>

namespace tessera::compiler {

class StageTimer {
 public:
  /// Ends the stage that began with the last call (or construction).
  void finish(std::string_view stage) {
    const auto now = std::chrono::steady_clock::now();
    stages_.emplace_back(stage, std::chrono::duration<double, std::milli>(now - last_).count());
    last_ = now;
  }
  /// In order; names are string literals.
  const std::vector<std::pair<std::string_view, double>>& stages() const { return stages_; }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
  std::vector<std::pair<std::string_view, double>> stages_;
};

}  // namespace tessera::compiler
