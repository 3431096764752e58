// SPDX-License-Identifier: Apache-2.0
#include "tessera/checkpoint/checkpoint.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <system_error>

#include "tessera/checkpoint/safetensors_header.h"
#include "tessera/checkpoint/weight_index.h"

namespace tessera::checkpoint {
namespace {

namespace fs = std::filesystem;

/// The first few of many names: "a, b, c and 7 more".
std::string some_of(const std::vector<std::string>& names) {
  constexpr size_t kShown = 3;
  std::string text = fmt::format(
      "{}", fmt::join(names.begin(), names.begin() + std::min(kShown, names.size()), ", "));
  if (names.size() > kShown) text += fmt::format(" and {} more", names.size() - kShown);
  return text;
}

/// Maps a file and reads its header; `take(entry)` says which tensors to keep.
template <class Take>
Result<> read_shard(Checkpoint::Shard& shard, int number, std::vector<Tensor>& tensors,
                    Take&& take) {
  TESSERA_ASSIGN(shard.file, MappedFile::open(shard.path));
  auto header = SafetensorsHeader::read(shard.file.bytes());
  if (!header.ok()) return Result<>(std::move(header).error()).context(shard.path.string());
  for (TensorEntry& entry : header->tensors) {
    if (!take(entry)) {
      ++shard.unlisted;
      continue;
    }
    ++shard.tensors;
    tensors.push_back({.name = std::move(entry.name),
                       .dtype = entry.dtype,
                       .shape = entry.shape,
                       .data = shard.file.bytes().subspan(header->data_offset + entry.begin,
                                                          entry.end - entry.begin),
                       .shard = number});
  }
  shard.file.dont_need(0, header->data_offset);
  return {};
}

/// Which shards are there. Error: all needed ones that are not, at once.
Result<std::vector<bool>> find_present(const fs::path& folder, const WeightIndex& index,
                                       const Checkpoint::Needed& needed) {
  std::vector<int> tensors(index.files.size());
  std::vector<bool> is_needed(index.files.size()), present;
  for (const WeightIndex::Weight& weight : index.weights) {
    ++tensors[weight.file];
    if (needed(weight.name)) is_needed[weight.file] = true;
  }
  std::vector<std::string> missing;
  int lost = 0;
  for (size_t i = 0; i < index.files.size(); ++i) {
    std::error_code ignored;
    present.push_back(fs::exists(folder / index.files[i], ignored));
    if (present.back() || !is_needed[i]) continue;
    missing.push_back(index.files[i]);
    lost += tensors[i];
  }
  if (missing.empty()) return present;
  return not_found(fmt::format("{}: {} of {} shards are missing, with {} of {} tensors: {}",
                               folder.string(), missing.size(), index.files.size(), lost,
                               index.weights.size(), some_of(missing)));
}

}  // namespace

Result<Checkpoint> Checkpoint::open(const fs::path& path, const Needed& needed) {
  std::error_code ignored;
  if (!fs::exists(path, ignored))
    return not_found(fmt::format("{}: no such file or folder", path.string()));
  if (!fs::is_directory(path, ignored))
    return path.extension() == ".json" ? open_index(path, needed) : open_file(path);
  const fs::path index = path / WeightIndex::kFileName;
  if (fs::exists(index, ignored)) return open_index(index, needed);
  if (fs::exists(path / "model.safetensors", ignored)) return open_file(path / "model.safetensors");
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(path, ignored))
    if (entry.path().extension() == ".safetensors") files.push_back(entry.path());
  if (files.size() == 1) return open_file(files[0]);
  return not_found(fmt::format(
      "{}: no {} and no model.safetensors{}", path.string(), WeightIndex::kFileName,
      files.empty() ? ""
                    : fmt::format("; which of the {} .safetensors files is meant?", files.size())));
}

Result<Checkpoint> Checkpoint::open_index(const fs::path& path, const Needed& needed) {
  TESSERA_ASSIGN(const MappedFile file, MappedFile::open(path));
  auto parsed = WeightIndex::parse(file.text());
  if (!parsed.ok()) return Result<Checkpoint>(std::move(parsed).error()).context(path.string());
  const WeightIndex index = std::move(parsed).value();
  const fs::path folder = path.parent_path();
  TESSERA_ASSIGN(const std::vector<bool> present, find_present(folder, index, needed));

  Checkpoint checkpoint;
  checkpoint.declared_bytes_ = index.total_size;
  checkpoint.shards_.resize(index.files.size());
  checkpoint.tensors_.reserve(index.weights.size());
  std::vector<bool> found(index.weights.size());
  for (size_t i = 0; i < index.files.size(); ++i) {
    Shard& shard = checkpoint.shards_[i];
    shard.path = folder / index.files[i];
    if (!present[i]) continue;
    const int number = static_cast<int>(i);
    TESSERA_TRY(read_shard(shard, number, checkpoint.tensors_, [&](const TensorEntry& entry) {
      const auto weight =
          std::ranges::lower_bound(index.weights, entry.name, {}, &WeightIndex::Weight::name);
      if (weight == index.weights.end() || weight->name != entry.name || weight->file != number)
        return false;
      found[static_cast<size_t>(weight - index.weights.begin())] = true;
      return true;
    }));
  }
  std::vector<std::string> absent;
  for (size_t i = 0; i < found.size(); ++i)
    if (!found[i] && present[index.weights[i].file])
      absent.push_back(
          fmt::format("{} ({})", index.weights[i].name, index.files[index.weights[i].file]));
  if (!absent.empty())
    return corrupt(fmt::format("{}: {} of {} tensors are not in the files it names: {}",
                               path.string(), absent.size(), found.size(), some_of(absent)));
  checkpoint.finish();
  return checkpoint;
}

Result<Checkpoint> Checkpoint::open_file(const fs::path& path) {
  Checkpoint checkpoint;
  checkpoint.shards_.resize(1);
  checkpoint.shards_[0].path = path;
  TESSERA_TRY(read_shard(checkpoint.shards_[0], 0, checkpoint.tensors_,
                         [](const TensorEntry&) { return true; }));
  checkpoint.finish();
  return checkpoint;
}

void Checkpoint::finish() {
  std::ranges::sort(tensors_, {}, &Tensor::name);
  for (const Tensor& tensor : tensors_) tensor_bytes_ += tensor.data.size();
}

Result<> Checkpoint::rename(const std::function<std::vector<Tensor>(const Tensor&)>& as) {
  std::vector<Tensor> renamed;
  renamed.reserve(tensors_.size());
  for (const Tensor& tensor : tensors_)
    for (Tensor& made : as(tensor)) renamed.push_back(std::move(made));
  std::ranges::sort(renamed, {}, &Tensor::name);
  const auto twice = std::ranges::adjacent_find(renamed, {}, &Tensor::name);
  if (twice != renamed.end()) return corrupt(fmt::format("two tensors are {}", twice->name));
  tensors_ = std::move(renamed);
  return {};
}

const Tensor* Checkpoint::find(std::string_view name) const {
  const auto found = std::ranges::lower_bound(tensors_, name, {}, &Tensor::name);
  return found == tensors_.end() || found->name != name ? nullptr : &*found;
}

void Checkpoint::will_need(const Tensor& tensor) const {
  const MappedFile& file = shards_[tensor.shard].file;
  file.will_need(static_cast<size_t>(tensor.data.data() - file.bytes().data()), tensor.data.size());
}

void Checkpoint::dont_need(const Tensor& tensor, std::span<const std::byte> part) const {
  const MappedFile& file = shards_[tensor.shard].file;
  file.dont_need(static_cast<size_t>(part.data() - file.bytes().data()), part.size());
}

}  // namespace tessera::checkpoint
