// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/scale_check.h"

#include <gtest/gtest.h>

#include "tessera/base/testing/temporary_folder.h"
#include "tessera/checkpoint/safetensors_writer.h"
#include "tessera/model/deepseek_v4/testing/sample_config.h"

namespace tessera::model::deepseek_v4 {
namespace {

TEST(ScaleCheck, FindsTheFirstNanAndCountsAll) {
  const Config config = parse_config(sample_config().dump()).value();
  const auto weights = expand_weights(config, 1);
  std::vector<checkpoint::TensorSpec> tensors;
  for (const WeightSpec& weight : weights)
    tensors.push_back({weight.name, weight.dtype, weight.shape});
  const TemporaryFolder folder;
  auto writer = checkpoint::SafetensorsWriter::create(folder / "m.safetensors", tensors).value();
  int64_t scales = 0;
  uint64_t scale_bytes = 0;
  for (const WeightSpec& weight : weights) {
    // Weights of 255 are fine; only scales count.
    std::vector data(weight.bytes(), weight.is_scale ? std::byte{127} : std::byte{255});
    if (weight.name == "layers.2.ffn.experts.3.w2.scale")  // [64, 3]
      for (const size_t at : {7, 8, 191}) data[at] = std::byte{255};
    if (weight.name == "mtp.0.e_proj.scale") data[0] = std::byte{255};
    scales += weight.is_scale ? 1 : 0;
    scale_bytes += weight.is_scale ? weight.bytes() : 0;
    ASSERT_TRUE(writer.write(weight.name, data).ok());
  }
  ASSERT_TRUE(writer.finish().ok());

  const auto opened = checkpoint::Checkpoint::open(folder.path()).value();
  uint64_t last = 0, whole = 0;
  const ScaleCheck check = check_scales(opened, weights, [&](uint64_t done, uint64_t total) {
    EXPECT_GT(done, last);
    last = done;
    whole = total;
  });
  EXPECT_EQ(check.tensors, scales);
  EXPECT_EQ(check.bytes, scale_bytes);
  EXPECT_EQ(last, scale_bytes);
  EXPECT_EQ(whole, scale_bytes);
  ASSERT_EQ(check.found.size(), 2u);
  EXPECT_EQ(check.found[0].name, "layers.2.ffn.experts.3.w2.scale");
  EXPECT_EQ(check.found[0].count, 3);
  EXPECT_EQ(check.found[0].row, 2);
  EXPECT_EQ(check.found[0].column, 1);
  EXPECT_EQ(check.found[1].name, "mtp.0.e_proj.scale");
}

}  // namespace
}  // namespace tessera::model::deepseek_v4
