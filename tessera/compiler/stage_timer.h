// SPDX-License-Identifier: Apache-2.0
// Milliseconds of each stage of one compilation: CPU time of the thread that compiles, which other
// work of the machine does not change.
#pragma once

#include <ctime>
#include <string_view>
#include <utility>
#include <vector>

namespace tessera::compiler {

class StageTimer {
 public:
  /// Ends the stage that began with the last call (or construction).
  void finish(std::string_view stage) {
    const double at = now();
    stages_.emplace_back(stage, at - last_);
    last_ = at;
  }
  /// In order; names are string literals.
  const std::vector<std::pair<std::string_view, double>>& stages() const { return stages_; }

 private:
  static double now() {
    timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return 1e3 * static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_nsec);
  }

  double last_ = now();
  std::vector<std::pair<std::string_view, double>> stages_;
};

}  // namespace tessera::compiler
