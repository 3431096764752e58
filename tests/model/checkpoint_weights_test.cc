// SPDX-License-Identifier: Apache-2.0
// Weights of a file as devices see them, those that read its pages and those that get copies.
#include "tessera/model/deepseek_v4/checkpoint_weights.h"

#include <gtest/gtest.h>

#include <cstring>

#include "tessera/base/testing/temporary_folder.h"
#include "tessera/checkpoint/safetensors_writer.h"
#include "tessera/runtime/chip_registry.h"

namespace tessera::model::deepseek_v4 {
namespace {

using checkpoint::SafetensorsWriter;
using checkpoint::TensorSpec;

class CheckpointWeightsTest : public testing::TestWithParam<const char*> {};

TEST_P(CheckpointWeightsTest, TensorsAreWholeAndAlignedWhereverTheFileHasThem) {
  auto device = runtime::open_device(GetParam());
  if (!device.ok()) GTEST_SKIP() << device.error().message;
  const TemporaryFolder folder;
  const std::vector<TensorSpec> specs = {{"odd", DType::u8, {3}}, {"floats", DType::f32, {5, 7}}};
  std::vector<float> floats(35);
  for (size_t i = 0; i < floats.size(); ++i) floats[i] = static_cast<float>(i) + 0.5f;
  {
    auto writer = SafetensorsWriter::create(folder.path() / "model.safetensors", specs).value();
    ASSERT_TRUE(writer.write("odd", std::vector<std::byte>(3)).ok());
    ASSERT_TRUE(writer.write("floats", std::as_bytes(std::span(floats))).ok());
    ASSERT_TRUE(writer.finish().ok());
  }
  const auto file = std::make_shared<const checkpoint::Checkpoint>(
      checkpoint::Checkpoint::open(folder.path()).value());
  CheckpointWeights weights(file, **device);
  const DeviceTensor tensor = weights.tensor("floats").value();

  alignas(4096) static std::byte page[4096];
  if ((*device)->import_host(page).ok()) {
    EXPECT_EQ(weights.held().mapped, 140u);
    EXPECT_EQ(std::memcmp(reinterpret_cast<const void*>(tensor.address), floats.data(), 140), 0);
  } else {
    EXPECT_EQ(weights.held().copied, 140u);
    EXPECT_EQ(tensor.address % alignof(float), 0u);
    EXPECT_EQ((*device)->memory_in_use(), 140u) << "only what was asked for is there";
  }
}

INSTANTIATE_TEST_SUITE_P(Chips, CheckpointWeightsTest,
                         testing::Values("cpu", "null", "vulkan", "cuda"));

}  // namespace
}  // namespace tessera::model::deepseek_v4
