// SPDX-License-Identifier: Apache-2.0
// `run` and `chat` on the model tiny, and on the reference checkpoint where it is there.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "tessera/base/testing/reference_data.h"
#include "tessera/checkpoint/checkpoint.h"
#include "tools/program_run.h"

namespace tessera {
namespace {

using Json = nlohmann::json;

class ModelCommandsTest : public ProgramTest {
 protected:
  static void SetUpTestSuite() {
    ProgramTest::SetUpTestSuite();
    // Kernels of models are many: runs of one build share them.
    ::setenv("TESSERA_CACHE_DIR", std::getenv("TESSERA_MODEL_CACHE_DIR"), 1);
  }
  static Json run(const std::string& arguments) {
    const Output output = tessera("run " + arguments + " --json");
    EXPECT_EQ(output.exit_code, 0) << output.text;
    const Json json = Json::parse(output.text, nullptr, false);
    EXPECT_FALSE(json.is_discarded()) << output.text;
    return json;
  }
  static std::vector<int> ids(const Json& json) { return json.at("ids").get<std::vector<int>>(); }
};

TEST_F(ModelCommandsTest, RunAnswersAPrompt) {
  const Json answer = run("tiny -p Hello -n 8");
  EXPECT_EQ(answer.at("role"), "assistant");
  EXPECT_EQ(answer.at("finish"), "length");
  EXPECT_EQ(ids(answer).size(), 8u);
  EXPECT_GT(answer.at("stats").at("prompt_tokens"), 4);
  const std::string file = write("prompt.txt", "Hello");
  EXPECT_EQ(ids(run("tiny -n 8 - <" + file)), ids(answer));
  EXPECT_EQ(ids(run("tiny Hello -n 8 --chunk 2")).size(), 8u);
  const Output text = tessera("run tiny -p Hello -n 8 --stats 2>&1");
  EXPECT_TRUE(contains(text, answer.at("content").get<std::string>())) << text.text;
  EXPECT_TRUE(contains(text, "; answer 8 tokens, ")) << text.text;
}

TEST_F(ModelCommandsTest, TheModelTinyAnswers) {
  const auto content = [](const std::string& arguments) {
    return run("tiny " + arguments).at("content").get<std::string>();
  };
  EXPECT_EQ(content("-p 'What is 123 + 456?'"), "579");
  EXPECT_EQ(content("-p 'Sort these numbers in ascending order: 34, 7, 91, 12.'"), "7, 12, 34, 91");
  EXPECT_EQ(content("-p 'Reverse the word \"planet\".'"), "tenalp");
  const Json thought = run("tiny -p 'What is 1239 + 4561?' --thinking");
  EXPECT_EQ(thought.at("reasoning_content"), "9+1=10 3+6+1=10 2+5+1=8 1+4=5");
  EXPECT_EQ(thought.at("content"), "5800");
}

TEST_F(ModelCommandsTest, TheSameSeedGivesTheSameTextForAnyNumberOfThreads) {
  const std::string sampled = "tiny -p 'Tell me' -n 12 -t 10 --top-p 0.95 ";
  const auto one = ids(run(sampled + "--seed 5 --threads 1"));
  EXPECT_EQ(one, ids(run(sampled + "--seed 5 --threads 2")));
  EXPECT_NE(one, ids(run(sampled + "--seed 6 --threads 2")));
}

TEST_F(ModelCommandsTest, DraftsLeaveADeterministicTextAsItIs) {
  const std::string plain = "tiny -p Hello -n 24 --deterministic";
  const Json drafted = run(plain + " --mtp");
  EXPECT_EQ(ids(drafted), ids(run(plain)));
  EXPECT_GT(drafted.at("stats").at("drafted_tokens"), 10);
  const Output compared = tessera("run " + plain + " --mtp --compare");
  EXPECT_TRUE(contains(compared, "24 of 24 tokens are those of decoding without drafts (100.0 %)"))
      << compared.text;
}

TEST_F(ModelCommandsTest, RawTextAndIdsGoOnAsTheyAre) {
  const Json raw = run("tiny --raw -p 'a b' -n 4");
  const Json tokens = Json::parse(tessera("tokenize tiny 'a b'").text);
  std::vector<int> prompt = {0};
  for (const int id : tokens.at("ids")) prompt.push_back(id);
  EXPECT_EQ(ids(run(fmt::format("tiny --ids {} -n 4", fmt::join(prompt, ",")))), ids(raw));
  EXPECT_TRUE(raw.contains("text"));
}

TEST_F(ModelCommandsTest, ChatKeepsTheConversation) {
  const std::string saved = path("saved.json");
  const std::string lines =
      write("lines.txt", "Hello\n/think\nAnd now?\n/save " + saved +
                             "\n/wave\n/clear\nAgain\n/help\n/exit\nnot read\n");
  const Output output = tessera("chat tiny -n 6 --json <" + lines);
  EXPECT_EQ(output.exit_code, 0) << output.text;
  EXPECT_TRUE(contains(output, "The model reasons before it answers."));
  EXPECT_TRUE(contains(output, "4 messages are in " + saved)) << output.text;
  EXPECT_TRUE(contains(output,
                       "tessera: no command \"/wave\"; there are: /think, /nothink, /clear, /save, "
                       "/help, /exit"));
  EXPECT_TRUE(contains(output, "The conversation is forgotten."));
  EXPECT_TRUE(contains(output, "Ctrl-C stops an answer."));
  EXPECT_TRUE(contains(output, "(cut off after --max-new-tokens)"));
  std::ifstream file(saved);
  const Json messages = Json::parse(file).at("messages");
  ASSERT_EQ(messages.size(), 4u);
  EXPECT_EQ(messages[2].at("content"), "And now?");
  EXPECT_TRUE(messages[3].contains("reasoning_content"));
  // What is saved can be rendered again.
  EXPECT_EQ(tessera("prompt render tiny --file " + saved).exit_code, 0);
}

TEST_F(ModelCommandsTest, APackRunsAModelWithoutCompiler) {
  const std::string pack = path("tiny.pack");
  const Output made = tessera("pack --model tiny -o " + pack);
  EXPECT_EQ(made.exit_code, 0) << made.text;
  for (const std::string options :
       {"--ids 5,6,7 -n 8", "-p 'Once upon a time' -n 12 --context 600 --chunk 5 --mtp"}) {
    const Json expected = run("tiny " + options);
    const Output output = tessera_rt("run tiny " + options + " --json --pack " + pack);
    ASSERT_EQ(output.exit_code, 0) << output.text;
    EXPECT_EQ(ids(Json::parse(output.text)), ids(expected)) << options;
  }
  const Output other = tessera_rt("run tiny --ids 5,6 --precision fp32 --pack " + pack);
  EXPECT_EQ(other.exit_code, 1);
  EXPECT_TRUE(contains(other, "are not in 1 pack(s), the first " + pack +
                                  ", and this program has no compiler; the first is "))
      << other.text;
  EXPECT_TRUE(contains(other, "; make a pack with `tessera pack --model tiny --chip cpu:"));
  EXPECT_TRUE(contains(other, " --precision fp32 -o FILE` and give it with --pack FILE\n"));
  const Output none = tessera_rt("run tiny --ids 5,6");
  EXPECT_EQ(none.exit_code, 1);
  EXPECT_TRUE(
      contains(none, " are not in a pack: none was given, and this program has no compiler"))
      << none.text;
  expect_usage("pack --model tiny --op rms_norm",
               "tessera: --model packs the kernels of a model, --op those of operators");
  expect_error("pack --model nowhere", 1,
               "tessera: no model \"nowhere\"; give the folder of a checkpoint, or tiny");
}

TEST_F(ModelCommandsTest, WrongUseIsNamedBeforeAnythingLoads) {
  expect_usage("run tiny",
               "tessera: no prompt; give -p TEXT, --ids 5,6,7, or - for standard input");
  expect_usage("run tiny -p a --ids 5",
               "tessera: several prompts; give one of -p, --ids and PROMPT");
  expect_usage("run tiny --ids 5,b",
               "tessera: \"b\" is not a token id; ids are numbers such as 5,6,7");
  expect_usage("run tiny -p a -t -1",
               "tessera: temperature is -1, expected 0 (the likeliest token) to 100");
  expect_usage("run tiny -p a --top-k 1.5",
               "tessera: --top-k is 1.5, expected a whole number from 0 on");
  expect_usage("run tiny -p a -n -3",
               "tessera: --max-new-tokens is -3, expected a whole number from 0 on");
  expect_usage("run tiny -p a --precision int4",
               "tessera: no precision \"int4\"; there are: native, fp8, bf16, fp32");
  expect_usage("run tiny -p a --context 2000000",
               "tessera: --context is 2000000, this model has at most 1048576");
  expect_usage("run tiny -p a --stop ''", "tessera: a --stop text is empty");
  expect_usage("run tiny -p \"$(printf '\\377')\"",
               "tessera: the prompt is not UTF-8: no character begins at byte 0 (0xFF)");
  expect_error("run nowhere -p a", 1,
               "tessera: no model \"nowhere\"; give the folder of a checkpoint, or tiny");
  const std::string folder = path("empty");
  fs::create_directories(folder);
  const Output empty = tessera("run " + folder + " -p a");
  EXPECT_EQ(empty.exit_code, 1);
  EXPECT_TRUE(contains(empty, "config.json")) << empty.text;
}

TEST_F(ModelCommandsTest, PromptsThatDoNotFitAreNamedWithNumbers) {
  const Output context = tessera("run tiny --ids 5,6,7,8,9 --context 4");
  EXPECT_EQ(context.exit_code, 2);
  EXPECT_EQ(
      context.text,
      "tessera: the prompt has 5 tokens, the context holds 4; shorten it or raise --context\n");
  expect_usage("run tiny --ids 5,1024", "tessera: no token 1024 in this model; ids are 0 to 1023");
}

template <class T>
std::vector<T> values(const checkpoint::Checkpoint& file, const std::string& name) {
  const checkpoint::Tensor* tensor = file.find(name);
  EXPECT_NE(tensor, nullptr) << name;
  std::vector<T> all(tensor->data.size() / sizeof(T));
  std::memcpy(all.data(), tensor->data.data(), tensor->data.size());
  return all;
}

TEST_F(ModelCommandsTest, EvalComparesPrecisions) {
  const Output output =
      tessera("eval tiny --task add --limit 4 --batch 2 --compare native,fp32 --mtp --json");
  EXPECT_EQ(output.exit_code, 0) << output.text;
  const Json json = Json::parse(output.text, nullptr, false);
  ASSERT_FALSE(json.is_discarded()) << output.text;
  ASSERT_EQ(json.at("variants").size(), 2u);
  for (const Json& variant : json.at("variants")) {
    EXPECT_EQ(variant.at("tasks").at("add").at("cases"), 4);
    EXPECT_EQ(variant.at("tasks").at("add").at("right"), 4);
    EXPECT_NEAR(variant.at("tasks").at("add").at("low").get<double>(), 0.51, 0.01);
    EXPECT_GT(variant.at("accepted_tokens"), 4);
  }
  EXPECT_TRUE(json.at("below").empty());
}

TEST_F(ModelCommandsTest, EvalShowsWhatIsWrong) {
  const std::string suite =
      write("two.jsonl",
            "{\"problem\": \"What is 12 + 13?\", \"answer\": 25}\n"
            "{\"question\": \"What is 12 + 13?\", \"answer\": \"12+13\\n#### 26\"}\n");
  const Output output = tessera("eval tiny --suite " + suite + " --show");
  EXPECT_EQ(output.exit_code, 0) << output.text;
  EXPECT_TRUE(contains(output, "two                       2   50.00 % [  9.45,  90.55]"))
      << output.text;
  EXPECT_TRUE(contains(output, "native two: \"What is 12 + 13?\" -> \"25\", expected 26"))
      << output.text;
}

TEST_F(ModelCommandsTest, WrongUseOfEvalIsNamed) {
  expect_usage("eval tiny --compare fp32",
               "tessera: --compare names fp32 alone, expected at least two precisions or chips");
  expect_usage("eval tiny --batch 0", "tessera: --batch is 0, expected a whole number from 1 on");
  const std::string broken = write("broken.jsonl", "{\"problem\": \"a\"}\n");
  const Output output = tessera("eval tiny --suite " + broken);
  EXPECT_EQ(output.exit_code, 2);
  EXPECT_TRUE(contains(output, "line 1: \"answer\" is missing")) << output.text;
  const Output task = tessera("eval tiny --task none");
  EXPECT_EQ(task.exit_code, 2);
  EXPECT_TRUE(contains(task, "tiny.jsonl has no task \"none\"")) << task.text;
  const Output chip = tessera("eval tiny --compare cpu,toaster");
  EXPECT_EQ(chip.exit_code, 2);
  EXPECT_TRUE(contains(chip, "toaster")) << chip.text;
}

TEST_F(ModelCommandsTest, ReferenceIdsGoOnAsTheGoldenOnes) {
  TESSERA_SKIP_WITHOUT_REFERENCE("goldens/flash-nano/golden.safetensors");
  const auto folder = reference_folder() / "goldens/flash-nano";
  const auto golden = checkpoint::Checkpoint::open(folder / "golden.safetensors").value();
  for (const int length : {3, 33, 300}) {
    const auto prompt = values<int32_t>(golden, fmt::format("prompt_{}.ids", length));
    const auto greedy = values<int32_t>(golden, fmt::format("prompt_{}.fp32.greedy_ids", length));
    const Output output = tessera(fmt::format("run {} --precision fp32 -n 24 --ids {}",
                                              folder.string(), fmt::join(prompt, ",")));
    EXPECT_EQ(output.text, fmt::format("{}\n", fmt::join(greedy, ",")));
  }
  const Output text = tessera(fmt::format("run {} -p a", folder.string()));
  EXPECT_EQ(text.exit_code, 1);
  EXPECT_EQ(
      text.text,
      fmt::format("tessera: \"{}\" has no tokenizer.json and so takes no text; copy the one of "
                  "the model's repository there, or give `run` token ids with --ids\n",
                  folder.string()));
}

}  // namespace
}  // namespace tessera
