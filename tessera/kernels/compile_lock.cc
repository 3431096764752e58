// SPDX-License-Identifier: Apache-2.0
#include "tessera/kernels/compile_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>

#include <system_error>

namespace tessera::kernels {

CompileLock::CompileLock(const std::filesystem::path& folder, const Hash128& key) {
  std::error_code ignored;
  std::filesystem::create_directories(folder, ignored);
  // Few files for all keys: they stay.
  const auto path = folder / fmt::format("lock-{:02x}", key.low & 0xff);
  file_ = FileDescriptor(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!file_.ok() || ::flock(file_.number(), LOCK_EX | LOCK_NB) == 0) return;
  had_to_wait_ = true;
  while (::flock(file_.number(), LOCK_EX) != 0 && errno == EINTR) {}
}

}  // namespace tessera::kernels
