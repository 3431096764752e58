// SPDX-License-Identifier: Apache-2.0
// A checkpoint of safetensors files, mapped read-only: opening reads headers only.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/mapped_file.h"
#include "tessera/base/result.h"
#include "tessera/checkpoint/tensor.h"

namespace tessera::checkpoint {

class Checkpoint {
 public:
  struct Shard {
    std::filesystem::path path;
    MappedFile file;  // nothing of one that is absent
    int tensors = 0;
    int unlisted = 0;  // in the file, but not there by the index: they are left out
  };

  /// Whether a tensor, by its name in the files, is needed.
  using Needed = std::function<bool(std::string_view name)>;
  static bool everything(std::string_view) { return true; }

  /// `path` is a folder with model.safetensors.index.json, with model.safetensors, or with exactly
  /// one other .safetensors file; or one such file or index itself. The index decides which file
  /// a tensor is in; files without a needed tensor may be absent. Errors name the file and give the
  /// numbers: not_found (nothing there; all missing shards at once), corrupt, unsupported (a
  /// dtype), io.
  static Result<Checkpoint> open(const std::filesystem::path& path,
                                 const Needed& needed = everything);

  /// Puts in place of each tensor what `as` makes of it: parts of its data, under any names. Error:
  /// corrupt where two get the same name.
  Result<> rename(const std::function<std::vector<Tensor>(const Tensor&)>& as);

  /// Sorted by name. Their data lives as long as the checkpoint.
  std::span<const Tensor> tensors() const { return tensors_; }
  /// Null when there is none of that name.
  const Tensor* find(std::string_view name) const;

  std::span<const Shard> shards() const { return shards_; }
  /// Sum over all tensors, without headers.
  uint64_t tensor_bytes() const { return tensor_bytes_; }
  /// What the index says that sum is.
  std::optional<uint64_t> declared_bytes() const { return declared_bytes_; }

  /// Hints for the pages of a tensor: read them soon; they may leave memory.
  void will_need(const Tensor& tensor) const;
  void dont_need(const Tensor& tensor) const { dont_need(tensor, tensor.data); }
  /// `part` of the tensor's data.
  void dont_need(const Tensor& tensor, std::span<const std::byte> part) const;

 private:
  static Result<Checkpoint> open_index(const std::filesystem::path& path, const Needed& needed);
  static Result<Checkpoint> open_file(const std::filesystem::path& path);
  void finish();

  std::vector<Shard> shards_;
  std::vector<Tensor> tensors_;
  uint64_t tensor_bytes_ = 0;
  std::optional<uint64_t> declared_bytes_;
};

}  // namespace tessera::checkpoint
