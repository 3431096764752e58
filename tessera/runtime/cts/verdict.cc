// SPDX-License-Identifier: Apache-2.0
#include "tessera/runtime/cts/verdict.h"

namespace tessera::runtime {
namespace {

bool matches(std::string_view pattern, std::string_view test) {
  if (pattern.ends_with('*')) return test.starts_with(pattern.substr(0, pattern.size() - 1));
  return test == pattern;
}

}  // namespace

std::string_view Verdict::never_run(std::string_view test) const {
  for (const KnownFailure& known : known_)
    if (known.never_run && matches(known.test, test)) return known.reason;
  return {};
}

bool Verdict::add(std::string_view test, bool passed) {
  bool listed = false;
  for (size_t i = 0; i < known_.size(); ++i) {
    if (known_[i].never_run || !matches(known_[i].test, test)) continue;
    listed = true;
    ++(passed ? seen_[i].passed : seen_[i].failed);
  }
  if (passed) return true;
  ++(listed ? expected_ : unexpected_);
  return listed;
}

std::vector<std::string> Verdict::stale() const {
  std::vector<std::string> names;
  for (size_t i = 0; i < known_.size(); ++i)
    if (seen_[i].passed > 0 && seen_[i].failed == 0) names.emplace_back(known_[i].test);
  return names;
}

}  // namespace tessera::runtime
