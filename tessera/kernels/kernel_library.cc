// SPDX-License-Identifier: Apache-2.0
#include "tessera/kernels/kernel_library.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "tessera/base/build_id.h"
#include "tessera/base/log.h"
#include "tessera/base/parallel.h"
#include "tessera/kernels/compile_lock.h"

namespace tessera::kernels {
namespace {

using Image = std::optional<runtime::KernelImage>;
using Loaded = Result<std::shared_ptr<runtime::Executable>>;

/// One kernel; its mutex is held while it is fetched, so that others wait for the result.
struct Slot {
  std::mutex mutex;
  std::shared_ptr<runtime::Executable> executable;
  std::optional<Error> error;  // compiling the same trace again would fail again
};

}  // namespace

struct KernelLibrary::State {
  State(runtime::Device& d, LibraryOptions o) : device(d), options(std::move(o)) {}

  runtime::Device& device;
  const LibraryOptions options;
  LibraryStats stats;
  std::mutex mutex;  // of `slots`, never held while fetching
  std::unordered_map<Hash128, std::shared_ptr<Slot>> slots;

  const std::string& arch() const { return device.info().arch; }
  Loaded get(const lang::Trace& trace);
  Result<bool> has(const lang::Trace& trace);
  std::string packs_text() const;
  Loaded fetch(const lang::Trace& trace, const Hash128& hash);
  Result<Image> from_packs(const Hash128& hash);
  /// Of the provider; empty where nothing is kept.
  Result<std::string> identity() const;
  Result<std::optional<Hash128>> cache_key(const lang::Trace& trace) const;
  /// Of the list of a subject's kernels in the disk cache.
  Result<std::optional<Hash128>> list_name(const Hash128& subject) const;
  Loaded from_cache(const Hash128& key);
  /// `key`: of the disk cache, where the image is to be kept.
  Loaded compile(const lang::Trace& trace, const std::optional<Hash128>& key);
};

Result<Image> KernelLibrary::State::from_packs(const Hash128& hash) {
  for (const auto& pack : options.packs) {
    TESSERA_ASSIGN(Image image, pack->find(arch(), hash));
    if (image) return image;
  }
  return Image();
}

Result<std::string> KernelLibrary::State::identity() const {
  if (!options.cache || !options.provider) return std::string();
  TESSERA_ASSIGN(std::string own, options.provider->identity(arch()));
  // The cache keeps what the device need not compile any more.
  const std::string finished = device.finish_identity();
  return own.empty() || finished.empty() ? own : own + " " + finished;
}

/// Empty where nothing is kept.
Result<std::optional<Hash128>> KernelLibrary::State::cache_key(const lang::Trace& trace) const {
  TESSERA_ASSIGN(const std::string own, identity());
  if (own.empty()) return std::optional<Hash128>();
  return std::optional(DiskCache::key(trace, own));
}

/// Empty also where kernels may come from packs: the next program may not have these.
Result<std::optional<Hash128>> KernelLibrary::State::list_name(const Hash128& subject) const {
  TESSERA_ASSIGN(const std::string own, identity());
  const std::string program = build_id();
  if (own.empty() || program.empty() || !options.packs.empty()) return std::optional<Hash128>();
  return std::optional(Hasher().add(subject).add(own).add(program).digest());
}

/// A null executable: not in the cache, or what is there cannot be used.
Loaded KernelLibrary::State::from_cache(const Hash128& key) {
  const Image image = options.cache->find(key);
  if (!image) return std::shared_ptr<runtime::Executable>();
  auto loaded = device.load(*image);
  if (loaded.ok()) {
    ++stats.from_cache;
    return loaded;
  }
  TESSERA_LOG(warn, "kernel cache: {} cannot be loaded ({}); compiling anew",
              options.cache->path_of(key).string(), loaded.error().message);
  return std::shared_ptr<runtime::Executable>();
}

Loaded KernelLibrary::State::compile(const lang::Trace& trace, const std::optional<Hash128>& key) {
  const auto start = std::chrono::steady_clock::now();
  TESSERA_ASSIGN(runtime::KernelImage image, options.provider->compile(trace, arch()));
  if (key) {
    TESSERA_ASSIGN(image, device.finish(image));
  }
  const auto elapsed = std::chrono::steady_clock::now() - start;
  stats.compile_microseconds +=
      std::chrono::duration_cast<std::chrono::microseconds>(elapsed).count();
  ++stats.compiled;
  if (key) options.cache->store(*key, image);
  return device.load(image);
}

Loaded KernelLibrary::State::fetch(const lang::Trace& trace, const Hash128& hash) {
  TESSERA_ASSIGN(const Image packed, from_packs(hash));
  if (packed) {
    TESSERA_ASSIGN(auto executable, device.load(*packed));
    ++stats.from_pack;
    return executable;
  }
  if (options.provider == nullptr)
    return not_found(
        fmt::format("no kernel {} ({}) for {} in {}, and this program has no compiler; make a pack "
                    "that holds it with `tessera pack --chip {}`",
                    trace.name, hash.hex(), arch(), packs_text(), arch()));
  TESSERA_ASSIGN(const std::optional<Hash128> key, cache_key(trace));
  if (!key) return compile(trace, key);
  TESSERA_ASSIGN(auto executable, from_cache(*key));
  if (executable) return executable;
  const CompileLock lock(options.cache->folder(), *key);
  if (lock.had_to_wait()) {
    TESSERA_ASSIGN(executable, from_cache(*key));
    if (executable) return executable;
  }
  return compile(trace, key);
}

Loaded KernelLibrary::State::get(const lang::Trace& trace) {
  const Hash128 hash = trace.hash();
  std::shared_ptr<Slot> slot;
  {
    std::lock_guard lock(mutex);
    auto& entry = slots[hash];
    if (entry == nullptr) entry = std::make_shared<Slot>();
    slot = entry;
  }
  std::lock_guard lock(slot->mutex);
  if (slot->executable) return slot->executable;
  if (slot->error) return *slot->error;
  auto fetched = fetch(trace, hash).context(fmt::format("kernel {}", trace.name));
  if (fetched.ok())
    slot->executable = *fetched;
  else
    slot->error = fetched.error();
  return fetched;
}

std::string KernelLibrary::State::packs_text() const {
  if (options.packs.empty()) return "a pack: none was given";
  return fmt::format("{} pack(s), the first {}", options.packs.size(),
                     options.packs[0]->path().string());
}

/// Whether an image is at hand.
Result<bool> KernelLibrary::State::has(const lang::Trace& trace) {
  const Hash128 hash = trace.hash();
  for (const auto& pack : options.packs)
    if (pack->contains(arch(), hash)) return true;
  if (options.provider == nullptr) return false;
  {
    std::lock_guard lock(mutex);
    if (slots.contains(hash)) return true;
  }
  TESSERA_ASSIGN(const std::optional<Hash128> key, cache_key(trace));
  return key && options.cache->contains(*key);
}

KernelLibrary::KernelLibrary(runtime::Device& device, LibraryOptions options)
    : state_(std::make_unique<State>(device, std::move(options))) {}

KernelLibrary::~KernelLibrary() = default;

runtime::Device& KernelLibrary::device() const { return state_->device; }

const LibraryStats& KernelLibrary::stats() const { return state_->stats; }

Loaded KernelLibrary::get(const lang::Trace& trace) { return state_->get(trace); }

Result<std::vector<std::shared_ptr<runtime::Executable>>> KernelLibrary::get_all(
    std::span<const lang::Trace> traces) {
  std::vector<std::shared_ptr<runtime::Executable>> all(traces.size());
  std::vector<std::optional<Error>> errors(traces.size());
  for_each_parallel(traces.size(), state_->options.compile_threads, [&](size_t i) {
    auto executable = state_->get(traces[i]);
    if (executable.ok())
      all[i] = std::move(*executable);
    else
      errors[i] = std::move(executable.error());
  });
  for (auto& error : errors)
    if (error) return std::move(*error);
  return all;
}

Result<void> KernelLibrary::provide(
    std::span<const lang::Trace> traces,
    const std::function<void(size_t done, size_t total)>& progress) {
  std::vector<const lang::Trace*> missing;
  for (const lang::Trace& trace : traces) {
    TESSERA_ASSIGN(const bool there, state_->has(trace));
    if (!there) missing.push_back(&trace);
  }
  if (missing.empty()) return {};
  if (state_->options.provider == nullptr)
    return not_found(fmt::format(
        "{} of {} kernels for {} are not in {}, and this program has no compiler; the first is {}",
        missing.size(), traces.size(), state_->arch(), state_->packs_text(), missing[0]->name));
  std::mutex mutex;  // of what follows
  size_t done = 0;
  std::optional<Error> failure;
  for_each_parallel(missing.size(), state_->options.compile_threads, [&](size_t i) {
    auto made = state_->get(*missing[i]);
    const std::lock_guard lock(mutex);
    if (!made.ok() && !failure) failure = std::move(made).error();
    if (progress) progress(++done, missing.size());
  });
  if (failure) return std::move(*failure);
  return {};
}

Result<void> KernelLibrary::provide(
    const Hash128& subject, const std::function<Result<std::vector<lang::Trace>>()>& list,
    const std::function<void(size_t done, size_t total)>& progress) {
  TESSERA_ASSIGN(const std::optional<Hash128> name, state_->list_name(subject));
  if (name) {
    const auto known = state_->options.cache->find_list(*name);
    const auto cached = [&](const Hash128& key) { return state_->options.cache->contains(key); };
    if (known && std::ranges::all_of(*known, cached)) return {};
  }
  TESSERA_ASSIGN(const std::vector<lang::Trace> traces, list());
  TESSERA_TRY(provide(traces, progress));
  if (!name) return {};
  std::vector<Hash128> keys;
  for (const lang::Trace& trace : traces) {
    TESSERA_ASSIGN(const std::optional<Hash128> key, state_->cache_key(trace));
    keys.push_back(*key);
  }
  state_->options.cache->store_list(*name, keys);
  return {};
}

}  // namespace tessera::kernels
