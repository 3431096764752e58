// SPDX-License-Identifier: Apache-2.0
// The loaded kernels of one device. A kernel is identified by the hash of its trace: every
// specialisation (dtypes, divisibility, M class, hints) is in there. Looks in memory, then in the
// packs, then in the disk cache, then asks the provider, each image once however many threads ask.
// A kernel that failed is not tried again.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "tessera/base/result.h"
#include "tessera/kernels/disk_cache.h"
#include "tessera/kernels/pack.h"
#include "tessera/kernels/provider.h"
#include "tessera/runtime/device.h"

namespace tessera::kernels {

struct LibraryOptions {
  std::vector<std::shared_ptr<const Pack>> packs = {};
  std::shared_ptr<DiskCache> cache = {};    // may be empty: nothing is kept
  std::shared_ptr<Provider> provider = {};  // may be empty: packs only
  int compile_threads = 0;                  // 0 = all cores
};

struct LibraryStats {
  std::atomic<int64_t> from_pack{0}, from_cache{0}, compiled{0};
  std::atomic<int64_t> compile_microseconds{0};
};

class KernelLibrary {
 public:
  KernelLibrary(runtime::Device& device, LibraryOptions options);
  ~KernelLibrary();

  runtime::Device& device() const;
  /// `not_found` names the kernel and says that neither pack nor cache holds it and no compiler is
  /// there.
  Result<std::shared_ptr<runtime::Executable>> get(const lang::Trace& trace);
  /// The same for many kernels, compiled in parallel; results in the order of `traces`.
  Result<std::vector<std::shared_ptr<runtime::Executable>>> get_all(
      std::span<const lang::Trace> traces);
  /// Sees to it that get() of these kernels compiles nothing: compiles in parallel those that
  /// neither pack nor disk cache has, and loads none but them. `progress` is told how many of them
  /// are done, by one thread at a time. `not_found` without a compiler: how many are missing, and
  /// the first.
  Result<void> provide(std::span<const lang::Trace> traces,
                       const std::function<void(size_t done, size_t total)>& progress = {});
  /// The same for the kernels that `list` gives. `subject` stands for all that decides them but the
  /// program's own code: with a disk cache they are noted under it, and while the cache has each of
  /// them `list` is not called again.
  Result<void> provide(const Hash128& subject,
                       const std::function<Result<std::vector<lang::Trace>>()>& list,
                       const std::function<void(size_t done, size_t total)>& progress = {});
  const LibraryStats& stats() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tessera::kernels
