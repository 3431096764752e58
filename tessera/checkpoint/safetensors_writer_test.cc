// SPDX-License-Identifier: Apache-2.0
#include "tessera/checkpoint/safetensors_writer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "tessera/base/testing/temporary_folder.h"
#include "tessera/checkpoint/checkpoint.h"

namespace tessera::checkpoint {
namespace {

std::span<const std::byte> bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

class SafetensorsWriterTest : public ::testing::Test {
 protected:
  SafetensorsWriter writer() {
    return SafetensorsWriter::create(path_, tensors_, {{"by", "test"}}).value();
  }

  size_t files() const {
    return static_cast<size_t>(
        std::distance(std::filesystem::directory_iterator(folder_.path()), {}));
  }

  TemporaryFolder folder_;
  std::filesystem::path path_ = folder_ / "out.safetensors";
  std::vector<TensorSpec> tensors_ = {{"first", DType::bf16, {2, 2}},
                                      {"none", DType::f32, {0}},
                                      {"nibbles", DType::f4e2m1, {1, 6}}};
};

TEST_F(SafetensorsWriterTest, WhatIsWrittenInPartsIsReadBack) {
  SafetensorsWriter out = writer();
  ASSERT_TRUE(out.write("first", bytes("abc")).ok());
  ASSERT_TRUE(out.write("first", bytes("defgh")).ok());
  ASSERT_TRUE(out.write("none", {}).ok());
  ASSERT_TRUE(out.write("nibbles", bytes("xyz")).ok());
  EXPECT_FALSE(std::filesystem::exists(path_));
  ASSERT_TRUE(out.finish().ok());
  EXPECT_EQ(files(), 1u);

  const auto read = Checkpoint::open(path_);
  ASSERT_TRUE(read.ok()) << read.error().to_string();
  ASSERT_EQ(read->tensors().size(), 3u);
  const Tensor* first = read->find("first");
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(first->dtype, DType::bf16);
  EXPECT_EQ(first->shape, Shape({2, 2}));
  EXPECT_TRUE(std::ranges::equal(first->data, bytes("abcdefgh")));
  EXPECT_TRUE(std::ranges::equal(read->find("nibbles")->data, bytes("xyz")));
  EXPECT_EQ(read->find("none")->data.size(), 0u);
  EXPECT_EQ(read->tensor_bytes(), 11u);
}

TEST_F(SafetensorsWriterTest, MistakesAreNamed) {
  SafetensorsWriter out = writer();
  EXPECT_EQ(out.write("nibbles", bytes("xyz")).error().message,
            "data for tensor \"nibbles\" while tensor \"first\" lacks 8 of 8 bytes");
  EXPECT_EQ(out.write("first", bytes("123456789")).error().message,
            "9 bytes for tensor \"first\", which has room for 8 of 8");
  ASSERT_TRUE(out.write("first", bytes("12345")).ok());
  EXPECT_EQ(out.finish().error().message,
            "tensor \"first\" lacks 3 of 8 bytes, and 2 tensors follow");
  ASSERT_TRUE(out.write("first", bytes("678")).ok());
  ASSERT_TRUE(out.write("nibbles", bytes("xyz")).ok());
  EXPECT_EQ(out.write("nibbles", bytes("z")).error().message,
            "1 bytes for tensor \"nibbles\": all tensors are complete");
  tensors_.push_back(tensors_[0]);
  EXPECT_EQ(SafetensorsWriter::create(path_, tensors_).error().message,
            "tensor \"first\" appears twice");
}

TEST_F(SafetensorsWriterTest, AnUnfinishedFileLeavesNothing) {
  {
    SafetensorsWriter out = writer();
    ASSERT_TRUE(out.write("first", bytes("abc")).ok());
    EXPECT_EQ(files(), 1u);
  }
  EXPECT_EQ(files(), 0u);
  EXPECT_EQ(SafetensorsWriter::create(folder_ / "no/such.safetensors", tensors_).error().code,
            ErrorCode::not_found);
}

}  // namespace
}  // namespace tessera::checkpoint
