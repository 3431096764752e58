// SPDX-License-Identifier: Apache-2.0
// Of several processes that want the same kernel one compiles it, and the others wait and take it
// from the disk cache: ranks of a job, or programs started together.
#pragma once

#include <filesystem>

#include "tessera/base/file_descriptor.h"
#include "tessera/base/hash.h"

namespace tessera::kernels {

class CompileLock {
 public:
  /// Waits while another process compiles a kernel of this key (or, rarely, of another one). Where
  /// the folder cannot be written nothing is locked.
  CompileLock(const std::filesystem::path& folder, const Hash128& key);

  /// Another process held it: the kernel may be in the cache now.
  bool had_to_wait() const { return had_to_wait_; }

 private:
  FileDescriptor file_;  // closing it gives the lock back, and so does the end of the process
  bool had_to_wait_ = false;
};

}  // namespace tessera::kernels
