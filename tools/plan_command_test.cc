// SPDX-License-Identifier: Apache-2.0
// `plan --devices`: ways to share a model among devices, and the table of docs/parallel.md.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <vector>

#include "tessera/base/testing/reference_data.h"
#include "tools/program_run.h"

namespace tessera {
namespace {

using nlohmann::json;

class PlanCommandTest : public ProgramTest {
 protected:
  /// A folder with the published config of DeepSeek-V4-Flash and nothing else.
  static std::string flash() {
    const std::string folder = path("flash");
    fs::create_directories(folder);
    fs::copy_file(reference_folder() / "checkpoint/configs/DeepSeek-V4-Flash.config.json",
                  folder + "/config.json", fs::copy_options::overwrite_existing);
    return folder;
  }
  static json plan(const std::string& options) {
    const Output output = tessera("plan --json " + options + " " + flash());
    const json result = json::parse(output.text, nullptr, false);
    return result.is_discarded() ? json(output.text) : result;
  }
};

/// "| 16 x 32 GB | native | 1: 157.1, 2: 79.6 | --tp 2, 8 copies |"
struct Row {
  int64_t devices = 0, gigabytes = 0;
  std::string precision, best;
  std::map<int64_t, double> sizes;  // GB by number of ranks
};

std::vector<Row> table_of(const fs::path& page) {
  std::vector<Row> rows;
  std::ifstream file(page);
  for (std::string line; std::getline(file, line);) {
    Row row;
    char precision[16], sizes[200], best[40];
    if (std::sscanf(line.c_str(), "| %ld x %ld GB | %15[a-z0-9] | %199[^|]| %39[^|]|", &row.devices,
                    &row.gigabytes, precision, sizes, best) != 5)
      continue;
    row.precision = precision;
    row.best = std::string(best, std::string_view(best).find_last_not_of(' ') + 1);
    std::istringstream words(sizes);
    char separator;
    for (double gb, ranks; words >> ranks >> separator >> gb; words >> separator)
      row.sizes[static_cast<int64_t>(ranks)] = gb;
    rows.push_back(row);
  }
  return rows;
}

TEST_F(PlanCommandTest, TheTableOfTheDocsIsWhatIsPlanned) {
  TESSERA_SKIP_WITHOUT_REFERENCE("checkpoint/configs");
  const std::vector<Row> rows = table_of(fs::path(TESSERA_SOURCE_FOLDER) / "docs/parallel.md");
  ASSERT_EQ(rows.size(), 12u);
  for (const Row& row : rows) {
    const json planned = plan(fmt::format("--ctx 131072 --devices {} --memory {}GB --precision {}",
                                          row.devices, row.gigabytes, row.precision));
    ASSERT_TRUE(planned.is_object()) << planned;
    std::map<int64_t, double> sizes;
    for (const json& choice : planned.at("choices"))
      if (choice.at("experts") == "all-reduce")
        sizes[choice.at("ranks").get<int64_t>()] = choice.at("all").get<double>() / 1e9;
    const std::string what =
        fmt::format("{} x {} GB, {}", row.devices, row.gigabytes, row.precision);
    ASSERT_EQ(sizes.size(), row.sizes.size()) << what;
    // Scratch memory grows with the cores of a machine.
    for (const auto& [ranks, gb] : row.sizes) EXPECT_NEAR(sizes.at(ranks), gb, 0.4) << what;
    std::string best = "none fits";
    if (planned.contains("best")) {
      const auto ranks = planned.at("best").get<int64_t>();
      const int64_t copies = row.devices / ranks;
      best = fmt::format("--tp {}{}", ranks, copies > 1 ? fmt::format(", {} copies", copies) : "");
    }
    EXPECT_EQ(best, row.best) << what;
  }
}

TEST_F(PlanCommandTest, WaysToReachExpertsAreCompared) {
  TESSERA_SKIP_WITHOUT_REFERENCE("checkpoint/configs");
  const json few = plan("--devices 16 --memory 16GB"),
             many = plan("--devices 16 --memory 16GB --batch 16");
  const auto choice = [&](const std::string& experts) {
    for (const json& one : few.at("choices"))
      if (one.at("ranks") == 16 && one.at("experts") == experts) return one;
    return json();
  };
  const json sums = choice("all-reduce"), rows = choice("all-to-all");
  // 43 layers' shared experts whole: three matrices of 2048 x 4096 and their scales, not a 16th.
  const double whole = 43 * 3 * (2048.0 * 4096 + 16 * 32);
  EXPECT_NEAR(rows.at("weights").get<double>() - sums.at("weights").get<double>(), whole * 15 / 16,
              1e6);
  EXPECT_LT(rows.at("sent").get<double>(), 0.5 * sums.at("sent").get<double>());
  EXPECT_EQ(few.at("best_experts"), "all-reduce");
  EXPECT_EQ(many.at("best_experts"), "all-to-all");
  const Output text = tessera("plan --devices 16 --memory 16GB --batch 16 " + flash());
  EXPECT_TRUE(contains(text, "best: --tp 16 --experts all-to-all\n")) << text.text;
  expect_usage("plan --experts none " + flash(),
               "tessera: --experts is none, expected all-reduce or all-to-all");
}

}  // namespace
}  // namespace tessera
