// SPDX-License-Identifier: Apache-2.0
// `verify`: right numbers pass, wrong ones fail with the limit they missed, files that do not fit
// are named.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "tessera/base/testing/reference_data.h"
#include "tessera/checkpoint/checkpoint.h"
#include "tessera/model/deepseek_v4/verification/testing/golden_writer.h"
#include "tools/program_run.h"

namespace tessera {
namespace {

using Json = nlohmann::json;
using checkpoint::Checkpoint;
using model::deepseek_v4::GoldenWriter;

class VerifyCommandTest : public ProgramTest {
 protected:
  static void SetUpTestSuite() {
    ProgramTest::SetUpTestSuite();
    // Kernels of models are many: runs of one build share them.
    ::setenv("TESSERA_CACHE_DIR", std::getenv("TESSERA_MODEL_CACHE_DIR"), 1);
  }
  static fs::path nano() { return reference_folder() / "goldens/flash-nano"; }

  /// The reference vectors of one prompt, to be changed.
  static GoldenWriter vectors(const std::string& file, const std::string& prompt) {
    const auto all = Checkpoint::open(nano() / file).value();
    GoldenWriter writer;
    for (const checkpoint::Tensor& tensor : all.tensors()) {
      if (!tensor.name.starts_with(prompt + ".")) continue;
      std::vector<double> values;
      for (int64_t i = 0; i < tensor.shape.numel(); ++i)
        values.push_back(load_as_double(tensor.dtype, tensor.data.data(), i));
      writer.set(tensor.name, tensor.dtype, tensor.shape, std::move(values));
    }
    return writer;
  }
  /// A prompt with numbers of no model.
  static GoldenWriter made_vectors(int64_t vocabulary) {
    GoldenWriter writer;
    writer.set("prompt_2.ids", DType::i32, {2}, 5);
    writer.set("prompt_2.fp32.greedy_ids", DType::i32, {1}, 7);
    writer.set("prompt_2.fp32.logits", DType::f32, {1, vocabulary}, 0.5);
    writer.set("prompt_2.fp32.greedy_logits", DType::f32, {1, vocabulary}, 0.5);
    return writer;
  }
  static std::string save(const GoldenWriter& writer, const std::string& name) {
    writer.write(path(name));
    return path(name);
  }
};

TEST_F(VerifyCommandTest, AgainstAnotherChipOperatorByOperator) {
  const std::string use = "verify tiny --precision native --chip cpu:sse2 --against cpu";
  const Output text = tessera(use);
  EXPECT_EQ(text.exit_code, 0) << text.text;
  EXPECT_TRUE(contains(text, "native on cpu:sse2 against cpu, each operator given the same inputs"))
      << text.text;
  EXPECT_TRUE(contains(text, "no operator departs")) << text.text;
  const Output output = tessera(use + " --json");
  const Json json = Json::parse(output.text, nullptr, false);
  ASSERT_TRUE(json.is_object()) << output.text;
  EXPECT_TRUE(json["passed"]);
  const Json& outputs = json["runs"][0]["outputs"];
  EXPECT_GT(outputs.size(), 100U);
  const auto head =
      std::ranges::find_if(outputs, [](const Json& o) { return o["operator"] == "logits"; });
  ASSERT_NE(head, outputs.end());
  EXPECT_EQ((*head)["part"], "head");
  EXPECT_GT((*head)["elements"], 0);
}

TEST_F(VerifyCommandTest, WithoutVectorsFp32OnTheCpuIsTheReference) {
  const Output output = tessera("verify tiny --json");
  EXPECT_EQ(output.exit_code, 0) << output.text;
  const Json json = Json::parse(output.text, nullptr, false);
  ASSERT_FALSE(json.is_discarded()) << output.text;
  EXPECT_EQ(json.at("passed"), true);
  const Json& run = json.at("runs").at(0);
  EXPECT_EQ(run.at("precision"), "native");
  EXPECT_EQ(run.at("expected"), "fp32");
  ASSERT_EQ(run.at("vectors").size(), 8u);
  EXPECT_EQ(run.at("vectors")[7].at("name"), "prompt_130.fp32.greedy_logits");
  EXPECT_EQ(run.at("vectors")[7].at("greedy_ids"), 16);
  // Rounding shows: the numbers are not the reference's own.
  EXPECT_GT(run.at("vectors")[0].at("max_difference"), 1e-3);
}

TEST_F(VerifyCommandTest, NumbersOfNoModelFail) {
  const std::string file = save(made_vectors(1024), "made.safetensors");
  const Output output = tessera("verify tiny --golden " + file);
  EXPECT_EQ(output.exit_code, 1) << output.text;
  EXPECT_TRUE(contains(output, "FAILED largest difference of a logit: ")) << output.text;
  EXPECT_TRUE(contains(output, ", at most 0.0002 allowed\n")) << output.text;
  EXPECT_TRUE(contains(output, "FAILED greedy ids that differ: 1, at most 0 allowed\n"))
      << output.text;
  EXPECT_TRUE(contains(output, "tiny on cpu: FAILED in ")) << output.text;
}

TEST_F(VerifyCommandTest, ReferenceVectorsPassAndChangedOnesFail) {
  TESSERA_SKIP_WITHOUT_REFERENCE("goldens/flash-nano");
  GoldenWriter golden = vectors("golden.safetensors", "prompt_3");
  GoldenWriter layers = vectors("layers.safetensors", "prompt_3");
  const std::string layers_file = save(layers, "layers.safetensors");
  const auto verify = [&](const std::string& streams) {
    return tessera(fmt::format("verify {} --golden {} --layers {}", nano().string(),
                               save(golden, "golden.safetensors"), streams));
  };
  const Output right = verify(layers_file);
  EXPECT_EQ(right.exit_code, 0) << right.text;
  EXPECT_TRUE(contains(right, "ok     largest difference of a logit: ")) << right.text;
  EXPECT_TRUE(contains(right, "ok     90th percentile of row errors of all layers: "))
      << right.text;

  golden["prompt_3.fp32.greedy_logits"].values[700] += 1e-3;
  golden["prompt_3.native.mtp_last_logits"].values[3] += 5;
  for (const int layer : {2, 4, 6})
    for (double& value : layers[fmt::format("prompt_3.native.prefill.h.{}", layer)].values)
      value *= 1.5;
  const Output wrong = verify(save(layers, "wrong.safetensors"));
  EXPECT_EQ(wrong.exit_code, 1);
  for (const char* missed :
       {"FAILED largest difference of a logit: 0.00", "ok     greedy ids that differ: 0,",
        "ok     cosine of prompt_3.native.last_logits: ",
        "FAILED cosine of prompt_3.native.mtp_last_logits: ",
        "FAILED median row error of all layers: ",
        "FAILED 90th percentile of row errors of all layers: "})
    EXPECT_TRUE(contains(wrong, missed)) << missed << "\n" << wrong.text;
}

TEST_F(VerifyCommandTest, FilesThatDoNotFitTheModelAreNamed) {
  const std::string other = save(made_vectors(512), "other.safetensors");
  expect_usage("verify tiny --golden " + other,
               "tessera: " + other +
                   ": prompt_2.fp32.logits is f32 [1, 512]; this model has a vocabulary of 1024");
  GoldenWriter part = made_vectors(1024);
  part.remove("prompt_2.fp32.greedy_logits");
  const std::string missing = save(part, "missing.safetensors");
  expect_error("verify tiny --golden " + missing, 1,
               "tessera: " + missing + ": no tensor \"prompt_2.fp32.greedy_logits\"");
  expect_error("verify tiny --precision native --golden " + missing, 1,
               "tessera: " + missing + ": no tensor \"prompt_2.native.last_logits\"");
  part.remove("prompt_2.fp32.logits");
  const std::string empty = save(part, "empty.safetensors");
  expect_error(
      "verify tiny --golden " + empty, 1,
      "tessera: " + empty + ": no tensor prompt_L.fp32.logits or prompt_L.native.last_logits");
}

TEST_F(VerifyCommandTest, WrongUseIsNamed) {
  expect_usage("verify tiny --layers a",
               "tessera: --layers needs --golden, whose prompts it is "
               "about");
  expect_usage("verify tiny --precision fp32",
               "tessera: fp32 on the CPU is what others are compared with; give --golden, or "
               "another --precision or --chip");
  expect_usage("verify tiny --precision int4",
               "tessera: no precision \"int4\"; there are: native, fp8, bf16, fp32");
  const std::string file = save(made_vectors(1024), "fp32.safetensors");
  expect_usage("verify tiny --golden " + file + " --layers " + file,
               "tessera: --layers is about the native precision; leave it out, or give --precision "
               "native");
  expect_error("verify nowhere", 1,
               "tessera: no model \"nowhere\"; give the folder of a checkpoint, or tiny");
}

}  // namespace
}  // namespace tessera
