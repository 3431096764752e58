// SPDX-License-Identifier: Apache-2.0
#include "tessera/kernels/finished_pack.h"

#include <fmt/format.h>

#include <mutex>
#include <optional>

#include "tessera/base/log.h"
#include "tessera/base/parallel.h"

namespace tessera::kernels {
namespace {

/// Stands where other packs name their compiler.
std::string origin_of(const Pack& pack, const runtime::Device& device) {
  return fmt::format("{} from pack {}", device.finish_identity(), pack.checksum().hex());
}

}  // namespace

std::filesystem::path finished_path(const Pack& pack, const runtime::Device& device) {
  std::filesystem::path path = pack.path();
  return path += "." + device.finish_identity();
}

Result<std::shared_ptr<const Pack>> open_finished(const Pack& pack, const runtime::Device& device) {
  if (device.finish_identity().empty()) return std::shared_ptr<const Pack>();
  const auto path = finished_path(pack, device);
  if (!std::filesystem::exists(path)) return std::shared_ptr<const Pack>();
  TESSERA_ASSIGN(auto finished, Pack::open(path));
  const std::string origin = origin_of(pack, device);
  if (finished->compiler_version() != origin)
    return make_error(ErrorCode::corrupt,
                      fmt::format("{} is stale: it was made for {}, here is {}", path.string(),
                                  finished->compiler_version(), origin));
  TESSERA_TRY(finished->check_images());
  return finished;
}

Result<std::shared_ptr<const Pack>> finish(
    const Pack& pack, runtime::Device& device, int threads,
    const std::function<void(size_t done, size_t total)>& progress) {
  const std::string& arch = device.info().arch;
  if (device.finish_identity().empty())
    return invalid_argument(
        fmt::format("kernels for {} are machine code already: nothing to finish", arch));
  std::vector<const Pack::Entry*> entries;
  for (const Pack::Entry& entry : pack.entries())
    if (entry.arch == arch) entries.push_back(&entry);
  PackWriter writer(origin_of(pack, device));
  writer.set_tuning(pack.tuning());
  std::mutex mutex;  // of what follows
  size_t done = 0;
  std::optional<Error> failure;
  for_each_parallel(entries.size(), threads, [&](size_t i) {
    const Pack::Entry& entry = *entries[i];
    const auto made = [&]() -> Result<runtime::KernelImage> {
      TESSERA_ASSIGN(const auto image, pack.find(arch, entry.trace));
      return device.finish(*image);
    }();
    const std::lock_guard lock(mutex);
    if (made.ok())
      writer.add(arch, entry.trace, entry.kernel, *made);
    else if (!failure)
      failure = made.error();
    if (progress) progress(++done, entries.size());
  });
  if (failure) return std::move(*failure);
  const auto path = finished_path(pack, device);
  TESSERA_TRY(writer.write(path));
  return Pack::open(path);
}

Result<std::shared_ptr<const Pack>> open_or_renew_finished(const Pack& pack,
                                                           runtime::Device& device, int threads) {
  auto opened = open_finished(pack, device);
  if (opened.ok()) return opened;
  TESSERA_LOG(warn, "{}; making it again", opened.error().message);
  return finish(pack, device, threads);
}

}  // namespace tessera::kernels
