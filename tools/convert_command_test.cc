// SPDX-License-Identifier: Apache-2.0
// `convert` from the command line: what it prints, what it refuses, and that the result runs.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <nlohmann/json.hpp>

#include "tessera/base/testing/reference_data.h"
#include "tessera/model/deepseek_v4/testing/sample_config.h"
#include "tessera/model/deepseek_v4/testing/sparse_checkpoint.h"
#include "tessera/model/deepseek_v4/weight_table.h"
#include "tools/program_run.h"

namespace tessera {
namespace {

using namespace model::deepseek_v4;
using nlohmann::json;

class ConvertCommandTest : public ProgramTest {
 protected:
  static void SetUpTestSuite() {
    ProgramTest::SetUpTestSuite();
    ::setenv("TESSERA_CACHE_DIR", std::getenv("TESSERA_MODEL_CACHE_DIR"), 1);
  }
  /// The sample model, all zeros.
  static std::string sample(const std::string& name, const json& config = sample_config()) {
    std::map<std::string, ListedTensor> tensors;
    for (const WeightSpec& weight : expand_weights(parse_config(config.dump()).value(), 1))
      tensors[weight.name] = {std::string(checkpoint::safetensors_name(weight.dtype)),
                              weight.shape};
    fs::create_directories(folder_ / name);
    write_sparse_checkpoint(folder_ / name, config.dump(), tensors);
    return path(name);
  }
};

TEST_F(ConvertCommandTest, SaysWhatItWouldWriteAndWritesNothing) {
  const std::string source = sample("dry");
  const Output text = tessera("convert " + source + " " + path("none") + " --to bf16 --dry-run");
  EXPECT_EQ(text.exit_code, 0) << text.text;
  EXPECT_TRUE(contains(text, source + " -> bf16: 233 tensors, ")) << text.text;
  EXPECT_TRUE(contains(text, "  model-00001-of-00001.safetensors "));
  EXPECT_TRUE(contains(text, "  config.json\nnothing is written; "));
  EXPECT_FALSE(fs::exists(path("none")));
  const Output ranks =
      tessera("convert " + source + " " + path("none") + " --to fp8 --tp 2 --dry-run --json");
  const json plan = json::parse(ranks.text);
  ASSERT_EQ(plan["files"].size(), 3u);
  EXPECT_EQ(plan["files"][1]["file"], "model-rank00-00001-of-00001.safetensors");
  EXPECT_EQ(plan["files_there"], 0);
}

TEST_F(ConvertCommandTest, WritesAndGoesOn) {
  const std::string source = sample("small"), to = path("small-int8");
  const Output first = tessera("convert " + source + " " + to + " --to int8");
  EXPECT_EQ(first.exit_code, 0) << first.text;
  EXPECT_TRUE(contains(first, "\nwrote 1 file, ")) << first.text;
  EXPECT_TRUE(contains(first,
                       "int8 experts: root mean square error 0 of that of the values, at most 0 of "
                       "the largest value of a row\n"))
      << first.text;
  const Output again = tessera("convert " + source + " " + to + " --to int8");
  EXPECT_TRUE(contains(again, " in 1 file, 1 there already\nall is there already: 1 file\n"))
      << again.text;
  EXPECT_TRUE(contains(tessera("inspect " + to), "in INT8\n"));
  EXPECT_TRUE(contains(tessera("inspect " + to), "complete: every tensor is there"));
  const Output json_text =
      tessera("convert " + source + " " + path("b") + " --to fp8 --round --json");
  const json result = json::parse(json_text.text);
  EXPECT_EQ(result["files_written"], 1);
  EXPECT_EQ(result["rounded"]["blocks"], 0);
}

TEST_F(ConvertCommandTest, SaysWhatIsWrong) {
  const std::string source = sample("wrong"), both = "convert " + source + " " + path("x");
  expect_usage(both, "tessera: --to is missing: bf16, fp8, int8 or native");
  expect_usage(both + " --to fp4",
               "tessera: --to is \"fp4\"; bf16, fp8, int8 and native are possible");
  expect_usage(
      both + " --to bf16 --layers 3-1",
      "tessera: --layers: layers are \"3-1\", expected two numbers from 0 on as in 0-3, or "
      "one");
  expect_usage(both + " --to bf16 --layers 3-4",
               "tessera: layers 3 to 4 are wanted, the model has 0 to 3");
  expect_usage(both + " --to bf16 --tp 3",
               "tessera: 3 ranks cannot share 4 heads in 2 o-groups; possible are 1, 2, 4");
  expect_usage(both + " --to bf16 --jobs 0",
               "tessera: --jobs is 0; it has to be a whole number above 0");
  expect_usage("convert " + source + " " + source + " --to bf16",
               "tessera: " + source + " is the source itself; name another folder");
  expect_error("convert " + path("absent") + " " + path("x") + " --to bf16", 1,
               "tessera: open " + path("absent") + "/config.json: No such file or directory");
}

TEST_F(ConvertCommandTest, StaysSmall) {
  json config = sample_config();
  config["vocab_size"] = 4 << 20;  // matrices of 512 MiB
  const std::string source = sample("large", config);
  const Output output = tessera("convert " + source + " " + path("y") + " --to bf16");
  EXPECT_EQ(output.exit_code, 0) << output.text;
  rusage usage{};
  ::getrusage(RUSAGE_CHILDREN, &usage);
  EXPECT_LT(usage.ru_maxrss, 160 << 10) << "KiB";  // the program itself takes about 60 MiB
}

TEST_F(ConvertCommandTest, TheResultPassesTheGoldens) {
  TESSERA_SKIP_WITHOUT_REFERENCE("goldens/flash-nano");
  const std::string nano = (reference_folder() / "goldens/flash-nano").string();
  const Output made = tessera("convert " + nano + " " + path("nano") + " --to bf16");
  EXPECT_EQ(made.exit_code, 0) << made.text;
  const Output verified =
      tessera("verify " + path("nano") + " --golden " + nano + "/golden.safetensors");
  EXPECT_EQ(verified.exit_code, 0) << verified.text;
  EXPECT_TRUE(contains(verified, "fp32 against fp32 numbers\n")) << verified.text;
  EXPECT_TRUE(contains(verified, "bf16 against fp32 numbers\n")) << verified.text;
  const Output wrong = tessera("run " + path("nano") + " --ids 5,6,7 -n 2 --precision native");
  EXPECT_EQ(wrong.exit_code, 2);
  EXPECT_TRUE(contains(wrong,
                       "this checkpoint has weights in bf16, for the precisions bf16 and fp32; "
                       "native rounds what meets FP8 weights\n"))
      << wrong.text;
  EXPECT_EQ(tessera("run " + path("nano") + " --ids 5,6,7 -n 2").exit_code, 0);
}

}  // namespace
}  // namespace tessera
