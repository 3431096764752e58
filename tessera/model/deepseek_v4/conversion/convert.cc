// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/conversion/convert.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <optional>
#include <set>
#include <system_error>

#include "tessera/base/file_descriptor.h"
#include "tessera/base/mapped_file.h"
#include "tessera/base/parallel.h"
#include "tessera/checkpoint/safetensors_header.h"

namespace tessera::model::deepseek_v4 {
namespace {

namespace fs = std::filesystem;
using checkpoint::SafetensorsHeader;
using checkpoint::SafetensorsWriter;

constexpr char kConfig[] = "config.json";
constexpr double kGiB = 0x1p30;

/// Held while a conversion writes; ends with the process, however that ends.
Result<FileDescriptor> lock(const fs::path& folder) {
  FileDescriptor opened(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!opened.ok()) return system_error("open", folder);
  if (::flock(opened.number(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    return make_error(ErrorCode::unavailable,
                      fmt::format("{}: another conversion is writing here", folder.string()));
  return opened;
}

/// What AtomicFile leaves behind when its process is killed: a file to be written and ".XXXXXX".
std::vector<fs::path> left_over(const ConversionPlan& plan, const fs::path& folder) {
  constexpr size_t kSuffix = 7;
  std::set<std::string> written = {std::string(checkpoint::WeightIndex::kFileName), kConfig};
  for (const PlannedShard& shard : plan.shards) written.insert(shard.file);
  for (const fs::path& file : plan.copied) written.insert(file.string());
  std::vector<fs::path> found;
  std::error_code ignored;
  for (const auto& entry : fs::recursive_directory_iterator(folder, ignored)) {
    const std::string name = fs::relative(entry.path(), folder, ignored).string();
    if (entry.path().extension().string().size() == kSuffix &&
        written.contains(name.substr(0, name.size() - kSuffix)))
      found.push_back(entry.path());
  }
  return found;
}

std::vector<fs::path> weight_files(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored))
    if (entry.path().extension() == ".safetensors") files.push_back(entry.path());
  std::ranges::sort(files);
  return files;
}

/// Whether a file is a shard of this plan. A header says whose it is; a whole file is what it says.
bool is_own(const ConversionPlan& plan, const fs::path& path) {
  const auto mapped = MappedFile::open(path);
  if (!mapped.ok()) return false;
  const auto header = SafetensorsHeader::read(mapped->bytes());
  return header.ok() && header->metadata == plan.metadata();
}

/// The nearest folder above that is there.
fs::path existing(fs::path folder) {
  std::error_code ignored;
  folder = fs::absolute(folder, ignored);
  while (!fs::exists(folder, ignored) && folder.has_relative_path()) folder = folder.parent_path();
  return folder;
}

Result<> copy_companions(const ConversionPlan& plan, const fs::path& destination) {
  for (const fs::path& file : plan.copied) {
    TESSERA_ASSIGN(const MappedFile mapped, MappedFile::open(plan.folder / file));
    std::error_code ignored;
    fs::create_directories((destination / file).parent_path(), ignored);
    TESSERA_TRY(write_file_atomic(destination / file, mapped.bytes()));
  }
  return {};
}

/// Shards written side by side: counts, and the first failure, which stops the others.
class Writing {
 public:
  Writing(const ConversionPlan& plan, const fs::path& destination, uint64_t total,
          const std::function<void(const ConversionProgress&)>& progress)
      : plan_(plan), destination_(destination), progress_(progress), counts_{0, total} {}

  void write(const PlannedShard& shard) {
    if (stop_) return;
    TensorConverter converter(plan_);
    auto written = write(shard, converter);
    const std::lock_guard guard(mutex_);
    loss_.add(converter.loss());
    if (written.ok() || failure_) return;
    failure_ = std::move(written).error();
    stop_ = true;
  }
  const std::optional<Error>& failure() const { return failure_; }
  const ConversionLoss& loss() const { return loss_; }

 private:
  Result<> write(const PlannedShard& shard, TensorConverter& converter) {
    TESSERA_ASSIGN(auto writer, SafetensorsWriter::create(destination_ / shard.file,
                                                          shard.tensors(), plan_.metadata()));
    const auto& all = shard.conversions;
    for (size_t i = 0; i < all.size(); ++i) {
      if (i + 1 < all.size()) plan_.source->will_need(*all[i + 1].weight);
      TESSERA_TRY(converter.convert(all[i], writer, [&](uint64_t bytes) { return count(bytes); }));
    }
    return writer.finish();
  }
  bool count(uint64_t bytes) {
    const std::lock_guard guard(mutex_);
    counts_.done += bytes;
    progress_(counts_);
    return !stop_;
  }

  const ConversionPlan& plan_;
  const fs::path& destination_;
  const std::function<void(const ConversionProgress&)>& progress_;
  std::mutex mutex_;  // of what follows
  ConversionProgress counts_;
  ConversionLoss loss_;
  std::optional<Error> failure_;
  std::atomic<bool> stop_ = false;
};

}  // namespace

Result<ConversionStart> look_at_destination(const ConversionPlan& plan,
                                            const fs::path& destination) {
  std::error_code ignored;
  if (fs::equivalent(plan.folder, destination, ignored))
    return invalid_argument(
        fmt::format("{} is the source itself; name another folder", destination.string()));
  ConversionStart start;
  std::vector<fs::path> own;
  for (const fs::path& file : left_over(plan, destination))
    start.bytes_free += fs::file_size(file, ignored);
  for (const fs::path& file : weight_files(destination)) {
    if (!is_own(plan, file))
      return invalid_argument(fmt::format(
          "{} is not of this conversion (another source or other options, or the source has "
          "changed since); remove it or name another folder",
          file.string()));
    own.push_back(file.filename());
  }
  for (size_t i = 0; i < plan.shards.size(); ++i) {
    if (std::ranges::find(own, fs::path(plan.shards[i].file)) != own.end()) continue;
    start.missing.push_back(i);
    start.bytes_missing += plan.shards[i].bytes;
  }
  const fs::space_info space = fs::space(existing(destination), ignored);
  if (!ignored) start.bytes_free += space.available;
  if (ignored || start.bytes_missing <= start.bytes_free) return start;
  return io_error(fmt::format(
      "{} has room for {:.1f} GiB, the conversion writes {:.1f} GiB{}", destination.string(),
      static_cast<double>(start.bytes_free) / kGiB, static_cast<double>(start.bytes_missing) / kGiB,
      own.empty()
          ? ""
          : fmt::format(" besides the {:.1f} GiB that are there",
                        static_cast<double>(plan.bytes_written - start.bytes_missing) / kGiB)));
}

Result<ConversionResult> convert(const ConversionPlan& plan, const fs::path& destination, int jobs,
                                 const std::function<void(const ConversionProgress&)>& progress) {
  const auto begin = std::chrono::steady_clock::now();
  TESSERA_TRY(look_at_destination(plan, destination));
  std::error_code error;
  fs::create_directories(destination, error);
  if (error) return io_error(fmt::format("create {}: {}", destination.string(), error.message()));
  TESSERA_ASSIGN(const FileDescriptor held, lock(destination));
  for (const fs::path& file : left_over(plan, destination)) fs::remove(file, error);
  // Once more: another conversion may have written meanwhile.
  TESSERA_ASSIGN(const ConversionStart start, look_at_destination(plan, destination));

  ConversionResult result;
  result.shards = start.missing.size();
  result.kept = plan.shards.size() - start.missing.size();
  uint64_t total = 0;
  for (const size_t i : start.missing)
    for (const Conversion& c : plan.shards[i].conversions) {
      result.bytes_read += c.bytes_read();
      total += c.bytes_written();
    }
  Writing writing(plan, destination, total, progress);
  for_each_parallel(start.missing.size(), jobs,
                    [&](size_t i) { writing.write(plan.shards[start.missing[i]]); });
  if (writing.failure()) return *writing.failure();
  TESSERA_TRY(copy_companions(plan, destination));
  TESSERA_TRY(
      write_file_atomic(destination / checkpoint::WeightIndex::kFileName, plan.index.print()));
  TESSERA_TRY(write_file_atomic(destination / kConfig, plan.config));
  result.bytes_written = start.bytes_missing;
  result.loss = writing.loss();
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return result;
}

}  // namespace tessera::model::deepseek_v4
