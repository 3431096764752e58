// SPDX-License-Identifier: Apache-2.0
#include "tessera/checkpoint/safetensors_header.h"

#include <gtest/gtest.h>

namespace tessera::checkpoint {
namespace {

/// A file: the length of `json`, `json`, and `data_bytes` zeros.
std::string file_of(const std::string& json, size_t data_bytes = 0) {
  std::string text;
  for (int i = 0; i < 8; ++i) text += static_cast<char>(json.size() >> (8 * i));
  return text + json + std::string(data_bytes, '\0');
}

Result<SafetensorsHeader> read(const std::string& file) {
  return SafetensorsHeader::read(std::as_bytes(std::span(file)));
}

std::string problem(const std::string& json, size_t data_bytes = 0,
                    ErrorCode code = ErrorCode::corrupt) {
  const auto header = read(file_of(json, data_bytes));
  if (header.ok()) return "accepted";
  EXPECT_EQ(header.error().code, code) << header.error().message;
  return header.error().message;
}

std::string tensor(const std::string& name, const std::string& dtype, const std::string& shape,
                   const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
         ",\"data_offsets\":" + offsets + "}";
}

TEST(SafetensorsHeader, ReadsTensorsInTheOrderOfTheirData) {
  const auto header = read(file_of("{" + tensor("b", "BF16", "[2,3]", "[4,16]") +
                                       R"(,"__metadata__":{"format":"pt"},)" +
                                       tensor("a\\u00e9", "F32", "[]", "[0,4]") + "," +
                                       tensor("empty", "I64", "[0,7]", "[4,4]") + "}  \n",
                                   16));
  ASSERT_TRUE(header.ok()) << header.error().to_string();
  ASSERT_EQ(header->tensors.size(), 3u);
  EXPECT_EQ(header->tensors[0].name, "a\xC3\xA9");
  EXPECT_EQ(header->tensors[0].shape, Shape({}));
  EXPECT_EQ(header->tensors[1].name, "empty");
  EXPECT_EQ(header->tensors[2].name, "b");
  EXPECT_EQ(header->tensors[2].dtype, DType::bf16);
  EXPECT_EQ(header->tensors[2].shape, Shape({2, 3}));
  EXPECT_EQ(header->tensors[2].begin, 4u);
  EXPECT_EQ(header->tensors[2].end, 16u);
  EXPECT_EQ(header->metadata.at("format"), "pt");
  EXPECT_TRUE(read(file_of("{}")).ok());
}

TEST(SafetensorsHeader, PrintsWhatItReads) {
  SafetensorsHeader header;
  header.metadata = {{"a\"b", "c\n"}};
  header.tensors = {{"x \"y\"", DType::f8e4m3, {3, 5}, 0, 15}, {"z", DType::i1, {}, 15, 16}};
  std::string file = header.print();
  EXPECT_EQ(file.size() % 64, 0u);
  file += std::string(16, '\0');
  const auto again = read(file);
  ASSERT_TRUE(again.ok()) << again.error().to_string();
  EXPECT_EQ(again->data_offset + 16, file.size());
  EXPECT_EQ(again->metadata, header.metadata);
  EXPECT_EQ(again->tensors[0].name, "x \"y\"");
  EXPECT_EQ(again->tensors[0].shape, Shape({3, 5}));
  EXPECT_EQ(again->print(), header.print());
}

TEST(SafetensorsHeader, EveryDtypeHasAName) {
  for (int i = 0; i < kDTypeCount; ++i) {
    const auto dtype = static_cast<DType>(i);
    EXPECT_EQ(parse_safetensors_dtype(safetensors_name(dtype)), dtype);
  }
  EXPECT_EQ(safetensors_name(DType::f8e8m0), "F8_E8M0");
  EXPECT_EQ(parse_safetensors_dtype("f32"), std::nullopt);
}

TEST(SafetensorsHeader, RefusesBadLengths) {
  EXPECT_EQ(read("1234567").error().message,
            "truncated: 7 bytes, less than the 8 of a header's length");
  EXPECT_EQ(read(file_of("{}").substr(0, 9)).error().message,
            "truncated: the header has 2 bytes, the file has 1 after its length");
  EXPECT_EQ(read("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF{}").error().message,
            "not a safetensors file: a header of 18446744073709551615 bytes, at most 100000000 are "
            "allowed");
}

TEST(SafetensorsHeader, RefusesWhatIsNoHeader) {
  EXPECT_EQ(problem("[]"), "the header: a list is not expected here");
  EXPECT_EQ(problem("{\"a\":5}"), "tensor \"a\": 5 is not expected here");
  EXPECT_EQ(problem("{\"a\":{}}"), "tensor \"a\" has no dtype");
  EXPECT_EQ(problem(R"({"a":{"dtype":"I8","shape":[]}})"), "tensor \"a\" has no data_offsets");
  EXPECT_EQ(problem(R"({"a":{"dtype":"I8","dtype":"I8"}})"), "tensor \"a\" has dtype twice");
  EXPECT_EQ(problem(R"({"a":{"stride":[1]}})"), "tensor \"a\" has the unknown field \"stride\"");
  EXPECT_EQ(problem(R"({"a":{"dtype":8}})"), "tensor \"a\", dtype: 8 is not expected here");
  EXPECT_EQ(problem(R"({"a":{"shape":[-1]}})"), "tensor \"a\", shape: -1 is not expected here");
  EXPECT_EQ(problem(R"({"a":{"shape":[1.5]}})"), "tensor \"a\", shape: 1.5 is not expected here");
  EXPECT_EQ(problem(R"({"a":{"shape":[[1]]}})"),
            "tensor \"a\", shape: a list is not expected here");
  EXPECT_EQ(problem(R"({"__metadata__":{"a":1}})"), "__metadata__: 1 is not expected here");
  EXPECT_EQ(problem(R"({"__metadata__":{"a":"1","a":"2"}})"),
            "__metadata__ has the key \"a\" twice");
  EXPECT_EQ(problem("{} x"), "not JSON at byte 4: while parsing value - invalid literal");
  EXPECT_EQ(problem("{\"\xC3\":1}"),
            "not JSON at byte 4: while parsing object key - invalid string: "
            "ill-formed UTF-8 byte");
  std::string deep;
  for (int i = 0; i < 100000; ++i) deep += "{\"a\":";
  EXPECT_EQ(problem(deep), "tensor \"a\" has the unknown field \"a\"");
  EXPECT_EQ(problem(R"({"a":{"shape":)" + std::string(1000000, '[')),
            "tensor \"a\", shape: a list is not expected here");
}

TEST(SafetensorsHeader, RefusesUnknownDtypesAndTooManyDimensions) {
  EXPECT_EQ(problem("{" + tensor("a", "F6_E3M2", "[4]", "[0,3]") + "}", 3, ErrorCode::unsupported),
            "tensor \"a\" has the unknown dtype \"F6_E3M2\"; known are BOOL I8 U8 I16 I32 U32 I64 "
            "F32 F64 BF16 F16 F8_E4M3 F8_E5M2 F8_E8M0 F4");
  EXPECT_EQ(
      problem("{" + tensor("a", "I8", "[1,1,1,1,1]", "[0,1]") + "}", 1, ErrorCode::unsupported),
      "tensor \"a\": shape has more than 4 numbers");
}

TEST(SafetensorsHeader, RefusesOffsetsThatContradictTheShape) {
  EXPECT_EQ(problem("{" + tensor("a", "F32", "[2,3]", "[0,23]") + "}", 23),
            "tensor \"a\": F32 [2, 3] needs 24 bytes, its data_offsets span 23");
  EXPECT_EQ(problem("{" + tensor("a", "I8", "[2]", "[4,2]") + "}", 4),
            "tensor \"a\" ends at byte 2, before it begins at byte 4");
  EXPECT_EQ(problem("{" + tensor("a", "I8", "[2]", "[0]") + "}", 4),
            "tensor \"a\": data_offsets has 1 numbers instead of 2");
  EXPECT_EQ(problem("{" + tensor("a", "I8", "[2]", "[0,1,2,3,4]") + "}", 4),
            "tensor \"a\": data_offsets has more than 4 numbers");
  EXPECT_EQ(problem("{" + tensor("a", "I8", "[2]", "[0,18446744073709551616]") + "}", 4),
            "tensor \"a\", data_offsets: 18446744073709551616 is not expected here");
  EXPECT_EQ(problem("{" + tensor("a", "I8", "[9223372036854775808]", "[0,1]") + "}", 4),
            "tensor \"a\": the extent 9223372036854775808 is too large");
  EXPECT_EQ(problem("{" + tensor("a", "F64", "[4294967296,4294967296]", "[0,0]") + "}"),
            "tensor \"a\": F64 [4294967296, 4294967296] does not fit 64 bits");
  EXPECT_EQ(problem("{" + tensor("a", "F64", "[2305843009213693952]", "[0,0]") + "}"),
            "tensor \"a\": F64 [2305843009213693952] does not fit 64 bits");
}

TEST(SafetensorsHeader, RefusesDataThatIsNotCoveredOnce) {
  const std::string a = tensor("a", "I8", "[4]", "[0,4]");
  EXPECT_EQ(problem("{" + a + "," + tensor("b", "I8", "[4]", "[2,6]") + "}", 6),
            "tensor \"b\" [2, 6) overlaps tensor \"a\" [0, 4)");
  EXPECT_EQ(problem("{" + a + "," + tensor("b", "I8", "[4]", "[6,10]") + "}", 10),
            "bytes 4 to 6 of the data, before tensor \"b\", belong to no tensor");
  EXPECT_EQ(problem("{" + a + "}", 3),
            "truncated: the header promises 4 bytes of data, the file has 3 (1 are missing)");
  EXPECT_EQ(problem("{" + a + "}", 5),
            "1 bytes follow the last tensor: the header promises 4 bytes of data, the file has 5");
  EXPECT_EQ(problem("{" + a + "," + tensor("a", "I8", "[1]", "[4,5]") + "}", 5),
            "tensor \"a\" appears twice");
}

}  // namespace
}  // namespace tessera::checkpoint
