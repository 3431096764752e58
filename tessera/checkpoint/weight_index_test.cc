// SPDX-License-Identifier: Apache-2.0
#include "tessera/checkpoint/weight_index.h"

#include <gtest/gtest.h>

namespace tessera::checkpoint {
namespace {

std::string problem(std::string_view json) {
  const auto index = WeightIndex::parse(json);
  if (index.ok()) return "accepted";
  EXPECT_EQ(index.error().code, ErrorCode::corrupt);
  return index.error().message;
}

TEST(WeightIndex, ReadsWhatItNeedsAndSkipsTheRest) {
  const auto index = WeightIndex::parse(
      R"({"metadata": {"total_size": 12, "by": ["x", {"y": null}], "ratio": 1.5, "n": -1},
          "other": [true], "weight_map": {"b": "2.safetensors", "c": "1.safetensors",
          "a": "2.safetensors"}})");
  ASSERT_TRUE(index.ok()) << index.error().to_string();
  EXPECT_EQ(index->total_size, 12u);
  EXPECT_EQ(index->files, (std::vector<std::string>{"1.safetensors", "2.safetensors"}));
  ASSERT_EQ(index->weights.size(), 3u);
  EXPECT_EQ(index->weights[0].name, "a");
  EXPECT_EQ(index->weights[0].file, 1);
  EXPECT_EQ(index->weights[2].name, "c");
  EXPECT_EQ(index->weights[2].file, 0);

  const auto again = WeightIndex::parse(index->print());
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->print(), index->print());
  EXPECT_FALSE(WeightIndex::parse(R"({"weight_map": {}})")->total_size.has_value());
}

TEST(WeightIndex, RefusesWhatIsNoIndex) {
  EXPECT_EQ(problem(R"({"metadata": {}})"), "there is no weight_map");
  EXPECT_EQ(problem("[1]"), "the index: a list is not expected here");
  EXPECT_EQ(problem(R"({"weight_map": ["a"]})"), "weight_map: a list is not expected here");
  EXPECT_EQ(problem(R"({"weight_map": 7})"), "weight_map: 7 is not expected here");
  EXPECT_EQ(problem(R"({"weight_map": {"a": 7}})"),
            "the file of tensor \"a\": 7 is not expected here");
  EXPECT_EQ(problem(R"({"weight_map": {"a": {}}})"),
            "the file of tensor \"a\": an object is not expected here");
  EXPECT_EQ(problem(R"({"weight_map": {}, "weight_map": {}})"), "weight_map appears twice");
  EXPECT_EQ(problem(R"({"weight_map": {"a": "1", "b": "1", "a": "2"}})"),
            "tensor \"a\" appears twice");
  EXPECT_EQ(problem(R"({"weight_map": {"a": "1")"),
            "not JSON at byte 25: while parsing object - unexpected end of input; "
            "expected '}'");
  EXPECT_EQ(problem("{\"weight_map\": {\"\xFF\": \"1\"}}"),
            "not JSON at byte 18: while parsing object key - invalid string: "
            "ill-formed UTF-8 byte");
  EXPECT_EQ(problem("{\"x\": " + std::string(100000, '[')), "nested 65 levels deep");
}

TEST(WeightIndex, RefusesFilesElsewhere) {
  for (const char* name : {"../secret", "/etc/passwd", "a/b.safetensors", "..", "."})
    EXPECT_EQ(problem(std::string(R"({"weight_map": {"a": ")") + name + "\"}}"),
              std::string("tensor \"a\" is said to be in \"") + name +
                  "\", which is not a file name beside the index");
  EXPECT_EQ(problem(R"({"weight_map": {"a": ""}})"),
            "tensor \"a\" is said to be in \"\", which is not a file name beside the index");
}

}  // namespace
}  // namespace tessera::checkpoint
