// SPDX-License-Identifier: Apache-2.0
// For tests: a model of a checkpoint on a chip, its kernels compiled on the spot, and the vectors
// it is compared with.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "tessera/base/testing/reference_data.h"
#include "tessera/base/testing/temporary_folder.h"
#include "tessera/compiler/jit.h"
#include "tessera/compiler/target.h"
#include "tessera/kernels/disk_cache.h"
#include "tessera/kernels/kernel_library.h"
#include "tessera/model/deepseek_v4/model.h"
#include "tessera/runtime/chip_registry.h"
#include "tests/reference_model/comparison.h"
#include "tests/reference_model/tensor_files.h"

namespace tessera::model_test {

using model::deepseek_v4::Model;
using model::deepseek_v4::ModelOptions;
using model::deepseek_v4::Precision;
using model::deepseek_v4::Span;
using reference_model::Rows;
using reference_model::TensorFiles;

/// A device and its kernels. Machines of one program share compiled kernels.
class Machine {
 public:
  explicit Machine(int threads = 0)
      : device_(runtime::open_device("cpu", {.threads = threads}).value()),
        library_(*device_, {.cache = cache(),
                            .provider = std::make_shared<compiler::Jit>(compiler::all_targets())}) {
  }
  static Machine& shared() {
    static Machine machine;
    return machine;
  }
  kernels::KernelLibrary& library() { return library_; }

  std::unique_ptr<Model> load(const std::filesystem::path& folder, const ModelOptions& options) {
    auto checkpoint = checkpoint::Checkpoint::open(folder);
    EXPECT_TRUE(checkpoint.ok()) << checkpoint.error().to_string();
    const auto config = model::deepseek_v4::load_config(folder);
    EXPECT_TRUE(config.ok()) << config.error().to_string();
    auto loaded =
        Model::load(std::make_shared<const checkpoint::Checkpoint>(std::move(*checkpoint)), *config,
                    library_, options);
    EXPECT_TRUE(loaded.ok()) << loaded.error().to_string();
    return loaded.ok() ? std::move(*loaded) : nullptr;
  }

 private:
  static std::shared_ptr<kernels::DiskCache> cache() {
    static const TemporaryFolder folder;
    static const auto cache = std::make_shared<kernels::DiskCache>(folder.path());
    return cache;
  }

  std::unique_ptr<runtime::Device> device_;
  kernels::KernelLibrary library_;
};

inline Rows rows_of(std::span<const float> values, int64_t columns) {
  Rows rows(std::ssize(values) / columns, columns);
  std::copy(values.begin(), values.end(), rows.values.begin());
  return rows;
}

/// Logits of one step of one sequence.
inline Rows step(Model& model, int64_t position, std::span<const int32_t> tokens,
                 bool all_logits = false, int32_t sequence = 0) {
  const Span span{sequence, position, tokens, all_logits};
  auto logits = model.step(std::span(&span, 1));
  EXPECT_TRUE(logits.ok()) << logits.error().to_string();
  if (!logits.ok()) return Rows(1, model.config().vocab_size);
  return rows_of(*logits, model.config().vocab_size);
}

/// Feeds tokens from position 0 on in chunks; logits of every position where wanted, else of the
/// last.
inline Rows prefill(Model& model, std::span<const int32_t> tokens, int64_t chunk, bool all_logits,
                    int32_t sequence = 0) {
  Rows all;
  for (int64_t first = 0; first < std::ssize(tokens); first += chunk) {
    const auto part =
        tokens.subspan(static_cast<size_t>(first),
                       static_cast<size_t>(std::min(chunk, std::ssize(tokens) - first)));
    Rows logits = step(model, first, part, all_logits, sequence);
    if (all_logits)
      all.append(logits);
    else
      all = std::move(logits);
  }
  return all;
}

inline Rows last_rows(const Rows& all, int64_t count) {
  return reference_model::slice(all, all.rows - count, all.rows);
}

/// Lengths of the prompts in flash-nano's vectors.
inline constexpr int kPrompts[] = {1, 3, 33, 130, 300};

/// The checkpoint flash-nano with vectors of the official code.
class GoldenTest : public testing::Test {
 protected:
  void open(int length) {
    length_ = length;
    folder_ = reference_folder() / "goldens/flash-nano";
    golden_ = std::move(*TensorFiles::open(folder_ / "golden.safetensors"));
    layers_ = std::move(*TensorFiles::open(folder_ / "layers.safetensors"));
    ids_ = tokens("ids");
    greedy_ = tokens("fp32.greedy_ids");
  }
  std::string name(const std::string& part) const {
    return fmt::format("prompt_{}.{}", length_, part);
  }
  std::vector<int32_t> tokens(const std::string& part) const {
    const auto wide = golden_.integers(name(part));
    return {wide.begin(), wide.end()};
  }

  int length_ = 0;
  std::filesystem::path folder_;
  TensorFiles golden_, layers_;
  std::vector<int32_t> ids_, greedy_;
};

}  // namespace tessera::model_test
