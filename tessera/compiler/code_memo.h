// SPDX-License-Identifier: Apache-2.0
// Kernels that became the same LLVM module: those of operators that share a building block, and
// those of traces that promise what the code makes no use of. One of them is compiled.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "tessera/base/hash.h"

namespace tessera::compiler {

/// A kernel as a shared object.
struct LinkedCode {
  std::string entry;  // the symbol of its function
  std::vector<std::byte> bytes;
};

/// Code by the hash of the module it was made of, names left out. Thread-safe.
class CodeMemo {
 public:
  /// Null where there is none.
  std::shared_ptr<const LinkedCode> find(const Hash128& module) const {
    const std::lock_guard lock(mutex_);
    const auto known = codes_.find(module);
    return known == codes_.end() ? nullptr : known->second;
  }
  void store(const Hash128& module, LinkedCode code) {
    const std::lock_guard lock(mutex_);
    codes_.emplace(module, std::make_shared<const LinkedCode>(std::move(code)));
  }

 private:
  mutable std::mutex mutex_;
  std::map<Hash128, std::shared_ptr<const LinkedCode>> codes_;
};

}  // namespace tessera::compiler
