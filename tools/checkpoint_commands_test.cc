// SPDX-License-Identifier: Apache-2.0
// `inspect` and `plan` on small checkpoints, damaged ones, and one of full size.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "tessera/base/memory_limit.h"
#include "tessera/base/testing/reference_data.h"
#include "tessera/model/deepseek_v4/testing/sample_config.h"
#include "tessera/model/deepseek_v4/testing/sparse_checkpoint.h"
#include "tessera/model/deepseek_v4/weight_table.h"
#include "tools/program_run.h"

namespace tessera {
namespace {

using namespace model::deepseek_v4;
using nlohmann::json;

/// What a command printed and used.
struct Measured {
  Output output;
  double seconds = 0;  // on the processor
  uint64_t peak_bytes = 0;
};

class CheckpointCommandsTest : public ProgramTest {
 protected:
  /// By itself: what children used is otherwise known of the largest of all so far.
  static Measured measured(const std::string& arguments) {
    const std::string file = path("output");
    const std::string command =
        fmt::format("exec {} {} >{} 2>&1", std::getenv("TESSERA_PROGRAM"), arguments, file);
    const pid_t child = ::fork();
    if (child == 0) {
      ::execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
      ::_exit(127);
    }
    int status = 0;
    rusage usage{};
    if (::wait4(child, &status, 0, &usage) != child) return {};
    std::ifstream printed(file);
    const auto seconds = [](const timeval& t) {
      return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
    };
    return {.output = {.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1,
                       .text = {std::istreambuf_iterator(printed), {}}},
            .seconds = seconds(usage.ru_utime) + seconds(usage.ru_stime),
            .peak_bytes = static_cast<uint64_t>(usage.ru_maxrss) * 1024};
  }

  /// A checkpoint with some tensors changed.
  template <class Change>
  static std::string sample(const std::string& name, Change change,
                            const json& config = sample_config()) {
    std::map<std::string, ListedTensor> tensors;
    for (const WeightSpec& weight : expand_weights(parse_config(config.dump()).value(), 1))
      tensors[weight.name] = {std::string(checkpoint::safetensors_name(weight.dtype)),
                              weight.shape};
    change(tensors);
    fs::create_directories(folder_ / name);
    write_sparse_checkpoint(folder_ / name, config.dump(), tensors);
    return path(name);
  }
  /// The sample model in sizes that can be run.
  static json runnable() {
    json config = sample_config();
    config.merge_patch({{"hidden_size", 256},
                        {"vocab_size", 512},
                        {"head_dim", 128},
                        {"qk_rope_head_dim", 64},
                        {"q_lora_rank", 128},
                        {"o_lora_rank", 128},
                        {"index_head_dim", 128},
                        {"moe_intermediate_size", 128}});
    return config;
  }
  using Tensors = std::map<std::string, ListedTensor>;
};

TEST_F(CheckpointCommandsTest, InspectsAWholeCheckpoint) {
  const std::string whole = sample("whole", [](Tensors&) {});
  const Output output = tessera("inspect " + whole);
  EXPECT_EQ(output.exit_code, 0) << output.text;
  EXPECT_TRUE(contains(output,
                       "DeepSeek-V4: 4 layers (window only 1, ratio 4 2, ratio 128 1; 1 "
                       "hash-routed)\n"))
      << output.text;
  EXPECT_TRUE(contains(output, "draft head: mtp.0 (MTP)\n"));
  EXPECT_TRUE(contains(output, "  routed experts             144"));
  EXPECT_TRUE(contains(output, "complete: every tensor is there as the config asks\n"));
  const Output checked = tessera("inspect --check " + whole);
  EXPECT_EQ(checked.exit_code, 0);
  EXPECT_TRUE(contains(checked, " 0 with NaN\n")) << checked.text;
}

TEST_F(CheckpointCommandsTest, InspectListsWhatIsWrong) {
  const std::string damaged = sample("damaged", [](Tensors& tensors) {
    tensors.erase("layers.2.attn.wkv.weight");
    tensors.erase("mtp.0.enorm.weight");
    tensors["layers.1.ffn.gate.bias"].shape = {7};
    tensors["norm.weight"].dtype = "F32";
    tensors["layers.9.extra"] = {"I8", {3}};
  });
  const Output output = tessera("inspect " + damaged);
  EXPECT_EQ(output.exit_code, 1);
  for (const char* text :
       {"2 tensors missing:\n  layers.2.attn.wkv.weight (F8_E4M3 [32, 64])\n  "
        "mtp.0.enorm.weight (BF16 [64]), of the draft head\n",
        "1 tensor misshapen:\n  layers.1.ffn.gate.bias (F32 [7], expected F32 "
        "[6])\n",
        "1 tensor wrong dtype:\n  norm.weight (F32 [64], expected BF16 [64])\n",
        "1 tensor surplus:\n  layers.9.extra (I8 [3])\n", "not usable: the trunk is incomplete\n"})
    EXPECT_TRUE(contains(output, text)) << text << output.text;
  const json listed = json::parse(tessera("inspect --json " + damaged).text);
  EXPECT_EQ(listed.at("sound"), false);
  EXPECT_EQ(listed.at("missing").size(), 2u);
  EXPECT_EQ(listed.at("surplus").at(0).at("name"), "layers.9.extra");
}

TEST_F(CheckpointCommandsTest, InspectFindsNanScales) {
  const std::string spoiled = sample("spoiled", [](Tensors&) {});
  const fs::path file = fs::path(spoiled) / "layers.0.safetensors";
  const std::string bytes = read_file(file);
  const auto header = checkpoint::SafetensorsHeader::read(std::as_bytes(std::span(bytes))).value();
  for (const auto& tensor : header.tensors)
    if (tensor.name == "layers.0.ffn.experts.1.w2.scale") {
      std::string changed = bytes;
      changed[header.data_offset + tensor.begin + 5] = '\xff';  // of [64, 3]
      write_file(file, changed);
    }
  EXPECT_EQ(tessera("inspect " + spoiled).exit_code, 0);
  const Output output = tessera("inspect --check " + spoiled);
  EXPECT_EQ(output.exit_code, 1);
  EXPECT_TRUE(contains(output,
                       " 1 with NaN\n  layers.0.ffn.experts.1.w2.scale: 1 NaN, the first "
                       "at row 1, column 2\n"))
      << output.text;
}

TEST_F(CheckpointCommandsTest, InspectReportsBrokenFiles) {
  expect_error("inspect " + path("nowhere"), 1,
               "tessera: open " + path("nowhere") + ": No such file or directory");
  const std::string cut = sample("cut", [](Tensors&) {});
  fs::resize_file(fs::path(cut) / "layers.3.safetensors", 9000);
  const Output output = tessera("inspect " + cut);
  EXPECT_EQ(output.exit_code, 1);
  EXPECT_TRUE(contains(output, "tessera: " + cut + "/layers.3.safetensors: truncated: the header "))
      << output.text;
  fs::remove(fs::path(cut) / "layers.3.safetensors");
  EXPECT_TRUE(contains(tessera("inspect " + cut), ": 1 of 6 shards are missing, with "));
  write("cut/config.json", R"({"model_type": "llama"})");
  expect_error("inspect " + cut, 1,
               "tessera: " + cut +
                   "/config.json: model_type is \"llama\"; this program runs "
                   "deepseek_v4");
}

TEST_F(CheckpointCommandsTest, InspectsTheNanoCheckpoint) {
  TESSERA_SKIP_WITHOUT_REFERENCE("goldens/flash-nano");
  const Output output =
      tessera("inspect --check --json " + (reference_folder() / "goldens/flash-nano").string());
  EXPECT_EQ(output.exit_code, 0) << output.text;
  const json nano = json::parse(output.text);
  EXPECT_EQ(nano.at("bytes"), 12'341'676);
  EXPECT_EQ(nano.at("declared_bytes"), 12'341'676);
  EXPECT_EQ(nano.at("sound"), true);
}

TEST_F(CheckpointCommandsTest, PlansWithAndWithoutWeights) {
  const std::string whole = sample("planned", [](Tensors&) {}, runnable());
  const Output output = tessera("plan --ctx 1000 --batch 3 --memory 64GiB " + whole);
  EXPECT_EQ(output.exit_code, 0) << output.text;
  EXPECT_TRUE(contains(output, ": native, context 1000, 3 sequences, steps of 512 tokens\n\n"))
      << output.text;
  EXPECT_TRUE(contains(output, "memory 64.0 GiB (--memory): fits, "));

  const auto rank = [&](const std::string& options) {
    return json::parse(tessera("plan --json --memory 1GiB " + options + " " + whole).text)
        .at("rank");
  };
  const json one = rank("");
  int64_t anonymous = one.at("copied").get<int64_t>();
  for (const char* part : {"caches", "activations", "logits", "tables", "threads"}) {
    EXPECT_GT(one.at("working").at(part), 0) << part;
    anonymous += one.at("working").at(part).get<int64_t>();
  }
  EXPECT_EQ(one.at("anonymous"), anonymous);
  EXPECT_EQ(one.at("all"), anonymous + one.at("mapped").get<int64_t>());
  // The trunk alone; with the draft block all there is.
  const json inspected = json::parse(tessera("inspect --json " + whole).text);
  EXPECT_EQ(rank("--mtp").at("mapped"), inspected.at("bytes"));
  EXPECT_LT(one.at("mapped"), inspected.at("bytes"));
  EXPECT_LT(rank("--tp 2").at("mapped"), one.at("mapped"));
  EXPECT_GT(rank("--precision fp8").at("copied"), 0);
  const int64_t caches = rank("--ctx 1024").at("working").at("caches").get<int64_t>();
  EXPECT_GT(rank("--ctx 2048").at("working").at("caches"), caches);
  EXPECT_GE(rank("--ctx 1024 --batch 2").at("working").at("caches"), 2 * caches - 4096);

  fs::create_directories(folder_ / "config_only");
  fs::copy_file(fs::path(whole) / "config.json", folder_ / "config_only/config.json");
  const Output bare = tessera("plan --memory 1GiB " + path("config_only"));
  EXPECT_EQ(bare.exit_code, 0) << bare.text;
  EXPECT_TRUE(contains(bare,
                       "no model.safetensors.index.json and no model.safetensors; sizes are "
                       "those the config asks for\n"))
      << bare.text;
}

TEST_F(CheckpointCommandsTest, PlansThatDoNotFitSayWhatWould) {
  const std::string whole = sample("large", [](Tensors&) {}, runnable());
  const json plan =
      json::parse(tessera("plan --json --ctx 2048 --memory 1GiB " + whole).text).at("rank");
  const auto all = plan.at("all").get<int64_t>();
  const std::string use = "plan --ctx 2048 --memory ";
  EXPECT_EQ(tessera(use + std::to_string(all) + " " + whole).exit_code, 0);
  Output output = tessera(use + std::to_string(all - 1) + " " + whole);
  EXPECT_EQ(output.exit_code, 1);
  EXPECT_TRUE(contains(output, "does not fit, 1 B are missing\n")) << output.text;
  EXPECT_TRUE(contains(output, "  weights would be read from disk again and again: about "));
  EXPECT_TRUE(contains(output, "  fits with --ctx 1920 and below\n")) << output.text;
  EXPECT_TRUE(contains(output, "  fits with --tp 2, this much memory for each\n"));
  output = tessera(use + "1000 " + whole);
  EXPECT_EQ(output.exit_code, 1);
  EXPECT_TRUE(contains(output, "  no context and no number of ranks fits\n")) << output.text;
}

TEST_F(CheckpointCommandsTest, PlansAreRefusedWithTheNumbers) {
  const std::string whole = sample("refused", [](Tensors&) {});
  expect_usage("plan --tp 3 " + whole,
               "tessera: 3 ranks cannot share 4 heads in 2 o-groups; possible are 1, 2, 4");
  expect_usage("plan --precision int4 " + whole,
               "tessera: no precision \"int4\"; there are: native, fp8, bf16, fp32");
  expect_usage("plan --memory lots " + whole,
               "tessera: \"lots\" is no size; write 64GiB, 500MB or bytes");
  expect_usage("plan --ctx 0 " + whole, "tessera: --ctx is 0; it has to be a whole number above 0");
  expect_usage("plan --batch 1.5 " + whole,
               "tessera: --batch is 1.5; it has to be a whole number above 0");
  const std::string runs = sample("short", [](Tensors&) {}, runnable());
  const Output output = tessera("plan --ctx 4000 " + runs);
  EXPECT_EQ(output.exit_code, 2);
  EXPECT_TRUE(contains(output, "4000 positions: the model goes to 2048")) << output.text;
}

TEST_F(CheckpointCommandsTest, RunNamesTensorsThatAreNotAsTheConfigAsks) {
  const std::string whole = sample("runs", [](Tensors&) {}, runnable());
  const auto expect = [&](const std::string& name, auto change, const std::string& text,
                          const std::string& options = "") {
    const std::string folder = sample(name, change, runnable());
    expect_error("run " + folder + " --ids 5,6,7" + options, 1,
                 "tessera: the checkpoint is not what its config.json asks for: " + text);
  };
  expect(
      "run_missing",
      [](Tensors& tensors) {
        tensors.erase("layers.2.attn.wkv.weight");
        tensors.erase("layers.2.attn.wkv.scale");
      },
      "2 tensors are missing: layers.2.attn.wkv.weight (F8_E4M3 [128, 256]), ..");
  expect(
      "run_misshapen", [](Tensors& tensors) { tensors["layers.1.ffn.gate.bias"].shape = {7}; },
      "1 tensor is misshapen: layers.1.ffn.gate.bias (F32 [7], expected F32 [6])");
  expect(
      "run_dtype", [](Tensors& tensors) { tensors["norm.weight"].dtype = "F32"; },
      "1 tensor is of a wrong dtype: norm.weight (F32 [256], expected BF16 [256])");
  expect(
      "run_draft",
      [](Tensors& tensors) {
        std::erase_if(tensors, [](const auto& tensor) { return tensor.first.starts_with("mtp."); });
      },
      "the checkpoint has no block for multi-token prediction (mtp.0)", " --mtp");
  // Tensors of one model, the config of another.
  json other = runnable();
  other["vocab_size"] = 768;
  write("runs/config.json", other.dump());
  expect_error("run " + whole + " --ids 5,6,7", 1,
               "tessera: the checkpoint is not what its config.json asks for: 3 tensors are "
               "misshapen: embed.weight (BF16 [512, 256], expected BF16 [768, 256]), ..");
}

TEST_F(CheckpointCommandsTest, SizesThatNothingRunsAreNamedTogether) {
  const std::string odd = sample("odd", [](Tensors&) {});
  const std::string text =
      "tessera: no operators for these sizes: qk_rope_head_dim is 16, only 64 runs; index_head_dim "
      "is 16, only 128 runs; o_lora_rank is 24, only multiples of 128 run";
  expect_error("run " + odd + " --ids 5,6,7", 1, text);
  expect_error("plan " + odd, 1, text);
  expect_error("pack --model " + odd + " -o " + path("odd.pack"), 1, text);
}

/// 160 GB apparent. Reading headers only must be quick and small.
TEST_F(CheckpointCommandsTest, AFullSizeCheckpointIsInspectedAndPlannedQuickly) {
  TESSERA_SKIP_WITHOUT_REFERENCE("checkpoint");
  const fs::path reference = reference_folder() / "checkpoint";
  const std::string config = read_reference("checkpoint/configs/DeepSeek-V4-Flash.config.json");
  fs::create_directories(folder_ / "flash");
  const Config parsed = parse_config(config).value();
  write_sparse_checkpoint(folder_ / "flash", config,
                          TensorList(parsed).read(reference / "tensors-DeepSeek-V4-Flash.tsv"));
  const Measured inspected = measured("inspect --json " + path("flash"));
  const Measured planned = measured("plan --json --memory 192GiB " + path("flash"));
  EXPECT_EQ(inspected.output.exit_code, 0);
  const json flash = json::parse(inspected.output.text);
  EXPECT_EQ(flash.at("tensors"), 69'187);
  EXPECT_EQ(flash.at("bytes"), 159'609'485'896);
  EXPECT_EQ(flash.at("sound"), true);
  EXPECT_EQ(flash.at("files"), 45);
  int64_t bytes = flash.at("draft").at("bytes").get<int64_t>();
  for (const json& kind : flash.at("kinds")) bytes += kind.at("bytes").get<int64_t>();
  EXPECT_EQ(bytes, 159'609'485'896);

  EXPECT_EQ(planned.output.exit_code, 0) << planned.output.text;
  const json plan = json::parse(planned.output.text);
  EXPECT_EQ(plan.at("rank").at("mapped"),
            159'609'485'896 - flash.at("draft").at("bytes").get<int64_t>());
  EXPECT_EQ(plan.at("rank").at("copied"), 0);
  EXPECT_EQ(plan.at("fit"), "resident");

  // More than this machine's memory: only when asked for, and at what rate.
  if (MemoryLimit::read().available < 100'000'000'000) {
    const Output refused = tessera("run " + path("flash") + " --ids 5,6,7");
    EXPECT_EQ(refused.exit_code, 1);
    EXPECT_TRUE(contains(refused, " GiB of weights and ")) << refused.text;
    EXPECT_TRUE(contains(refused, "; --stream-weights runs it all the same and reads "));
    EXPECT_TRUE(contains(refused, " s a token at 2 GB/s\n"));
  }

  for (const auto& [name, command] : {std::pair("inspect", &inspected), {"plan", &planned}}) {
    EXPECT_LT(command->seconds, 3) << name;
    EXPECT_LT(command->peak_bytes, 300'000'000u) << name;
    RecordProperty(fmt::format("{}_seconds", name), std::to_string(command->seconds));
    RecordProperty(fmt::format("{}_peak_bytes", name), std::to_string(command->peak_bytes));
  }
}

}  // namespace
}  // namespace tessera
