// SPDX-License-Identifier: Apache-2.0
#include "tessera/checkpoint/checkpoint.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "tessera/base/testing/reference_data.h"
#include "tessera/base/testing/temporary_folder.h"
#include "tessera/checkpoint/safetensors_writer.h"

namespace tessera::checkpoint {
namespace {

class CheckpointTest : public ::testing::Test {
 protected:
  /// A file of i8 tensors of 8 bytes, filled with their first letter.
  void write_shard(const std::string& file, const std::vector<std::string>& names) {
    std::vector<TensorSpec> specs;
    for (const std::string& name : names) specs.push_back({name, DType::i8, {2, 4}});
    auto writer = SafetensorsWriter::create(folder_ / file, specs).value();
    for (const std::string& name : names) {
      const std::string data(8, name[0]);
      ASSERT_TRUE(writer.write(name, std::as_bytes(std::span(data))).ok());
    }
    ASSERT_TRUE(writer.finish().ok());
  }
  void write_index(const std::string& weight_map) {
    write_file(folder_ / "model.safetensors.index.json",
               R"({"metadata":{"total_size":32},"weight_map":{)" + weight_map + "}}");
  }
  /// The error of opening `name` in the folder, with the folder's path left out.
  std::string problem(const std::string& name = {}) {
    const auto opened = Checkpoint::open(name.empty() ? folder_.path() : folder_ / name);
    if (opened.ok()) return "accepted";
    std::string text;
    for (const std::string& step : opened.error().context) text = step + ": " + text;
    text += opened.error().message;
    for (size_t at; (at = text.find(folder_.path().string())) != text.npos;)
      text.replace(at, folder_.path().string().size(), "DIR");
    return text;
  }

  TemporaryFolder folder_;
};

TEST_F(CheckpointTest, TheIndexDecides) {
  write_shard("1.safetensors", {"a", "b", "old"});
  write_shard("2.safetensors", {"b", "c"});
  write_index(R"("a":"1.safetensors","b":"2.safetensors","c":"2.safetensors")");
  const auto opened = Checkpoint::open(folder_.path());
  ASSERT_TRUE(opened.ok()) << opened.error().to_string();
  ASSERT_EQ(opened->tensors().size(), 3u);
  EXPECT_EQ(opened->find("b")->shard, 1);
  EXPECT_EQ(opened->find("c")->data[7], std::byte{'c'});
  EXPECT_EQ(opened->find("old"), nullptr);
  EXPECT_EQ(opened->shards()[0].tensors, 1);
  EXPECT_EQ(opened->shards()[0].unlisted, 2);
  EXPECT_EQ(opened->tensor_bytes(), 24u);
  EXPECT_EQ(opened->declared_bytes(), 32u);
  opened->will_need(*opened->find("a"));
  opened->dont_need(*opened->find("a"));
  EXPECT_EQ(opened->find("a")->data[0], std::byte{'a'});
  EXPECT_TRUE(Checkpoint::open(folder_ / "model.safetensors.index.json").ok());
}

TEST_F(CheckpointTest, ASingleFileNeedsNoIndex) {
  write_shard("weights.safetensors", {"x", "y"});
  EXPECT_EQ(Checkpoint::open(folder_.path())->tensors().size(), 2u);
  EXPECT_EQ(Checkpoint::open(folder_ / "weights.safetensors")->tensors().size(), 2u);
  write_shard("other.safetensors", {"z"});
  EXPECT_EQ(problem(),
            "DIR: no model.safetensors.index.json and no model.safetensors; which of the 2 "
            ".safetensors files is meant?");
  write_shard("model.safetensors", {"m"});
  EXPECT_NE(Checkpoint::open(folder_.path())->find("m"), nullptr);
}

TEST_F(CheckpointTest, ErrorsNameFilesAndNumbers) {
  EXPECT_EQ(problem(), "DIR: no model.safetensors.index.json and no model.safetensors");
  EXPECT_EQ(problem("none"), "DIR/none: no such file or folder");
  write_shard("1.safetensors", {"a", "b"});
  write_index(R"("a":"1.safetensors","b":"2.safetensors","c":"3.safetensors","d":"3.safetensors")");
  EXPECT_EQ(problem(),
            "DIR: 2 of 3 shards are missing, with 3 of 4 tensors: 2.safetensors, 3.safetensors");
  write_index(R"("a":"1.safetensors","c":"1.safetensors")");
  EXPECT_EQ(problem(),
            "DIR/model.safetensors.index.json: 1 of 2 tensors are not in the files it names: "
            "c (1.safetensors)");
  write_index(R"("a":"1.safetensors",)");
  EXPECT_NE(problem().find("DIR/model.safetensors.index.json: not JSON at byte"),
            std::string::npos);
  write_index(R"("a":"1.safetensors")");
  const std::string whole = read_file(folder_ / "1.safetensors");
  write_file(folder_ / "1.safetensors", whole.substr(0, whole.size() - 5));
  EXPECT_EQ(problem(),
            "DIR/1.safetensors: truncated: the header promises 16 bytes of data, the file has 11 "
            "(5 are missing)");
  write_file(folder_ / "1.safetensors", "");
  EXPECT_EQ(problem("1.safetensors"),
            "DIR/1.safetensors: truncated: 0 bytes, less than the 8 of a header's length");
}

TEST_F(CheckpointTest, ReadsTheNanoCheckpoint) {
  TESSERA_SKIP_WITHOUT_REFERENCE("goldens/flash-nano");
  const auto nano = Checkpoint::open(reference_folder() / "goldens/flash-nano");
  ASSERT_TRUE(nano.ok()) << nano.error().to_string();
  EXPECT_EQ(nano->shards().size(), 2u);
  EXPECT_EQ(nano->tensor_bytes(), 12'341'676u);
  EXPECT_EQ(nano->declared_bytes(), nano->tensor_bytes());
  const Tensor* experts = nano->find("layers.0.ffn.experts.7.w1.weight");
  ASSERT_NE(experts, nullptr);
  EXPECT_EQ(experts->dtype, DType::i8);
  EXPECT_EQ(experts->shape, Shape({128, 128}));
  std::set<DType> dtypes;
  for (const Tensor& tensor : nano->tensors()) dtypes.insert(tensor.dtype);
  EXPECT_EQ(dtypes, (std::set{DType::i8, DType::i64, DType::f32, DType::bf16, DType::f8e4m3,
                              DType::f8e8m0}));
}

}  // namespace
}  // namespace tessera::checkpoint
