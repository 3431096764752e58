// SPDX-License-Identifier: Apache-2.0
#include "tessera/text/json_value.h"

#include <gtest/gtest.h>

namespace tessera::text {
namespace {

std::string reprint(std::string_view json) { return JsonValue::parse(json).value().dump(); }

TEST(JsonValueTest, PrintsAsPythonDoes) {
  EXPECT_EQ(reprint("{\"b\":1,\"a\":[true,null,{}],\"c\":[]}"),
            "{\"b\": 1, \"a\": [true, null, {}], \"c\": []}");
  EXPECT_EQ(reprint("\"\\u4e2d \\ud83d\\ude00 \\/ \\u001f\\b\\f\\n\\r\\t\\u007f\""),
            "\"中 😀 / \\u001f\\b\\f\\n\\r\\t\x7f\"");
  EXPECT_EQ(reprint("{\"a\": 1, \"b\": 2, \"a\": {\"c\": 3}}"), "{\"a\": {\"c\": 3}, \"b\": 2}");
}

TEST(JsonValueTest, Numbers) {
  for (const auto& [json, expected] : std::vector<std::pair<std::string, std::string>>{
           {"1.50", "1.5"},
           {"1e5", "100000.0"},
           {"1e16", "1e+16"},
           {"1e-5", "1e-05"},
           {"0.0001", "0.0001"},
           {"123456789012345.0", "123456789012345.0"},
           {"-0", "0"},
           {"-0.0", "-0.0"},
           {"12345678901234567890", "12345678901234567890"},
           {"-123456789012345678901234567890", "-123456789012345678901234567890"},
           {"0.1", "0.1"}})
    EXPECT_EQ(reprint(json), expected);
}

TEST(JsonValueTest, Errors) {
  EXPECT_EQ(JsonValue::parse("").error().message, "not valid JSON at byte 1");
  EXPECT_EQ(JsonValue::parse("{\"a\": }").error().message, "not valid JSON at byte 7");
  EXPECT_FALSE(JsonValue::parse("1 2").ok());
  EXPECT_FALSE(JsonValue::parse("\"\xFF\"").ok());
  EXPECT_EQ(JsonValue::parse(std::string(100000, '[')).error().message,
            "JSON nested more than 256 deep");
  EXPECT_TRUE(JsonValue::parse(std::string(256, '[') + std::string(256, ']')).ok());
}

}  // namespace
}  // namespace tessera::text
