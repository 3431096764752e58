// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/frame/tuning_file.h"

#include <gtest/gtest.h>

#include "tessera/base/testing/expect_result.h"
#include "tessera/base/testing/temporary_folder.h"

namespace tessera::ops {
namespace {

const Winner kWinner = {"cpu:a", "gemm K=64", {{"gemv_rows", 16}}, 1e-6, 2e-6};

std::string file_with(const std::string& winner) {
  return R"({"format": "tessera tuning 1", "winners": [)" + winner + "]}";
}

TEST(TuningFile, ReadsWhatItWrites) {
  const TemporaryFolder folder;
  TuningFile file;
  file.set(kWinner);
  file.set({"cpu:b", "gemm K=64", {{"dot_tile.more.m", 32}}, 3e-6, 4e-6});
  ASSERT_OK(file.write(folder / "a.tuning"));
  const auto read = TuningFile::open(folder / "a.tuning");
  ASSERT_TRUE(read.ok()) << read.error().to_string();
  EXPECT_EQ(read->text(), file.text());
  ASSERT_EQ(read->winners().size(), 2u);
  EXPECT_EQ(read->winners()[0].hints, kWinner.hints);
  EXPECT_NEAR(read->winners()[0].untuned_seconds, 2e-6, 1e-12);
  EXPECT_EQ(read->tuning_for("cpu:a")->apply("gemm K=64", {}).gemv_rows, 16);
  EXPECT_EQ(read->tuning_for("cpu:c"), nullptr);
}

TEST(TuningFile, ReplacesAndForgets) {
  TuningFile file;
  file.set(kWinner);
  Winner later = kWinner;
  later.hints = {{"gemv_rows", 32}};
  file.set(later);
  ASSERT_EQ(file.winners().size(), 1u);
  EXPECT_EQ(file.winners()[0].hints.at("gemv_rows"), 32);
  later.hints.clear();
  file.set(later);
  EXPECT_TRUE(file.winners().empty());
}

TEST(TuningFile, RefusesWhatIsWrong) {
  const std::string no_file =
      "x is no tuning file of format \"tessera tuning 1\"; `tessera tune` makes one";
  for (const char* text : {"", "{", "[]", "{}", R"({"format": "tessera tuning 2", "winners": []})",
                           R"({"format": "tessera tuning 1", "winners": 3})"})
    EXPECT_ERROR(corrupt, no_file, TuningFile::parse(text, "x"));
  const std::string parts =
      "x: winner 0: wants \"arch\", \"use\", \"hints\", \"us\" and \"untuned_us\"";
  EXPECT_ERROR(corrupt, parts, TuningFile::parse(file_with("7"), "x"));
  EXPECT_ERROR(corrupt, parts, TuningFile::parse(file_with(R"({"arch": "a"})"), "x"));
  const auto with_hints = [&](const std::string& hints) {
    return file_with(R"({"arch": "a", "use": "u", "us": 1, "untuned_us": 2, "hints": )" + hints +
                     "}");
  };
  EXPECT_ERROR(corrupt, "x: winner 0: gemv_rows is no whole number",
               TuningFile::parse(with_hints(R"({"gemv_rows": "8"})"), "x"));
  EXPECT_ERROR(corrupt, "x: winner 0: no hint \"warp_speed\"",
               TuningFile::parse(with_hints(R"({"warp_speed": 8})"), "x"));
  EXPECT_ERROR(corrupt, "x: winner 0: gemv_rows is 7, wanted a power of two from 1 to 4096",
               TuningFile::parse(with_hints(R"({"gemv_rows": 7})"), "x"));
}

}  // namespace
}  // namespace tessera::ops
