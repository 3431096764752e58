// SPDX-License-Identifier: Apache-2.0
// Winners of tuning on disk, as JSON: for each architecture and specialisation the hints that were
// measured to be faster than the chip's own, and how much. A pack carries the same text.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/result.h"
#include "tessera/runtime/tuning.h"

namespace tessera::ops {

struct Winner {
  std::string arch;  // DeviceInfo::arch
  std::string use;   // specialisation()
  runtime::Hints hints;
  double seconds = 0, untuned_seconds = 0;  // of one use
};

class TuningFile {
 public:
  /// `source` is named in errors. Errors (corrupt): no JSON, no such format, a winner without its
  /// parts, hints that with_hints() refuses.
  static Result<TuningFile> parse(std::string_view text, std::string_view source);
  static Result<TuningFile> open(const std::filesystem::path& path);

  const std::vector<Winner>& winners() const { return winners_; }  // by arch and use
  /// Replaces a winner of the same architecture and use; one without hints is removed.
  void set(Winner winner);
  void merge(const TuningFile& other);

  std::string text() const;
  Result<void> write(const std::filesystem::path& path) const;

  /// What this file says about an architecture; null when that is nothing.
  std::shared_ptr<const runtime::Tuning> tuning_for(std::string_view arch) const;

 private:
  std::vector<Winner> winners_;
};

}  // namespace tessera::ops
