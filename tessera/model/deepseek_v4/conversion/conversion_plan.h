// SPDX-License-Identifier: Apache-2.0
// What a conversion will write, worked out from headers alone: the expansion of the weight table
// for the source's config beside the one for the converted config.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tessera/base/result.h"
#include "tessera/checkpoint/checkpoint.h"
#include "tessera/checkpoint/safetensors_writer.h"
#include "tessera/checkpoint/scaled_blocks.h"
#include "tessera/checkpoint/weight_index.h"
#include "tessera/model/deepseek_v4/conversion/target_config.h"

namespace tessera::model::deepseek_v4 {

struct ConversionOptions {
  WeightForm form = WeightForm::native;
  std::optional<LayerRange> layers = std::nullopt;
  int64_t ranks = 1;  // the experts of each get files of their own
  checkpoint::Inexact inexact = checkpoint::Inexact::refuse;
  /// A file ends where the next tensor would take it beyond this.
  uint64_t shard_bytes = uint64_t{2} << 30;
};

/// A tensor, or a matrix with its scales, and what becomes of it.
struct Conversion {
  enum class Change : uint8_t { copy, widen_fp4, widen_fp8, rescale_fp4, to_int8 };
  Change change = Change::copy;
  const checkpoint::Tensor* weight = nullptr;
  const checkpoint::Tensor* scale = nullptr;  // where it has one
  checkpoint::TensorSpec to;
  std::optional<checkpoint::TensorSpec> to_scale;

  uint64_t bytes_read() const;
  uint64_t bytes_written() const;
};

struct PlannedShard {
  std::string file;
  std::vector<Conversion> conversions;
  uint64_t bytes = 0;  // of the file

  std::vector<checkpoint::TensorSpec> tensors() const;
};

struct ConversionPlan {
  ConversionOptions options;
  std::filesystem::path folder;  // of the source
  std::shared_ptr<const checkpoint::Checkpoint> source;
  std::string config;  // text of the new config.json
  std::vector<PlannedShard> shards;
  checkpoint::WeightIndex index;
  /// Files beside the weights that belong to a checkpoint and are copied as they are: tokenizer,
  /// generation_config.json, encoding/. Relative to the folder.
  std::vector<std::filesystem::path> copied;
  /// Of the source's headers, file sizes and times, and of everything above: files with the same
  /// identity are parts of the same conversion.
  std::string identity;
  uint64_t bytes_read = 0, bytes_written = 0;

  std::map<std::string, std::string> metadata() const;
};

/// Errors: those of opening a checkpoint; corrupt where the weights are not what config.json asks
/// for; invalid_argument for layers or ranks that cannot be; unsupported where a form would lose
/// something that the source no longer has (FP8 of bf16).
Result<ConversionPlan> plan_conversion(const std::filesystem::path& folder,
                                       const ConversionOptions& options);

}  // namespace tessera::model::deepseek_v4
