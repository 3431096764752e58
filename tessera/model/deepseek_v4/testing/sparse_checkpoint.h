// SPDX-License-Identifier: Apache-2.0
// For tests: a checkpoint of any size whose data is holes in its files. Headers, index and config
// are real; everything reads as zero and takes no disk.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <string>

#include "tessera/base/testing/temporary_folder.h"
#include "tessera/checkpoint/safetensors_header.h"
#include "tessera/checkpoint/safetensors_writer.h"
#include "tessera/checkpoint/weight_index.h"
#include "tessera/model/deepseek_v4/testing/tensor_list.h"

namespace tessera::model::deepseek_v4 {

/// One file for each layer, one for the rest, as the published checkpoints have it.
inline void write_sparse_checkpoint(const std::filesystem::path& folder, const std::string& config,
                                    const std::map<std::string, ListedTensor>& tensors) {
  std::map<std::string, std::vector<checkpoint::TensorSpec>> files;
  uint64_t total = 0;
  for (const auto& [name, tensor] : tensors) {
    const bool in_block = name.starts_with("layers.") || name.starts_with("mtp.");
    const size_t end = in_block ? name.find('.', name.find('.') + 1) : 0;
    const auto dtype = checkpoint::parse_safetensors_dtype(tensor.dtype).value();
    files[(end > 0 ? name.substr(0, end) : "top") + ".safetensors"].push_back(
        {name, dtype, tensor.shape});
    total += static_cast<uint64_t>(size_in_bytes(dtype, tensor.shape.numel()));
  }
  checkpoint::WeightIndex index;
  index.total_size = total;
  for (const auto& [file, specs] : files) {
    const auto header = checkpoint::make_header(specs).value();
    write_file(folder / file, header.print());
    const uint64_t data = header.tensors.empty() ? 0 : header.tensors.back().end;
    std::filesystem::resize_file(folder / file, header.data_offset + data);
    for (const checkpoint::TensorSpec& spec : specs)
      index.weights.push_back({spec.name, static_cast<int>(index.files.size())});
    index.files.push_back(file);
  }
  write_file(folder / checkpoint::WeightIndex::kFileName, index.print());
  write_file(folder / "config.json", config);
}

}  // namespace tessera::model::deepseek_v4
