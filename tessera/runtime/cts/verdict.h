// SPDX-License-Identifier: Apache-2.0
// How a chip's known failures turn test outcomes into pass or fail. Used by the conformance suite
// and by the operator tests, which run the same list.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/runtime/chip_registry.h"

namespace tessera::runtime {

class Verdict {
 public:
  explicit Verdict(std::span<const KnownFailure> known) : known_(known), seen_(known.size()) {}

  /// The reason not to run a test, or "" to run it.
  std::string_view never_run(std::string_view test) const;

  /// Takes the outcome of a test that ran. False when it counts against the chip: it failed and is
  /// not listed.
  bool add(std::string_view test, bool passed);

  /// Listed failures all of whose tests ran and passed: their entries are stale and must go.
  std::vector<std::string> stale() const;

  bool ok() const { return unexpected_ == 0 && stale().empty(); }
  int expected_failures() const { return expected_; }

 private:
  struct Seen {
    int passed = 0, failed = 0;
  };

  std::span<const KnownFailure> known_;
  std::vector<Seen> seen_;  // [known]
  int unexpected_ = 0;
  int expected_ = 0;
};

}  // namespace tessera::runtime
