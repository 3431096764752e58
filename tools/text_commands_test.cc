// SPDX-License-Identifier: Apache-2.0
// `tokenize` and `prompt`: what they print, and what they say about wrong input.
#include <nlohmann/json.hpp>

#include "tessera/text/tiny_tokenizer.h"
#include "tools/program_run.h"

namespace tessera {
namespace {

using Json = nlohmann::json;

class TextCommandsTest : public ProgramTest {
 protected:
  static void SetUpTestSuite() {
    ProgramTest::SetUpTestSuite();
    write("model/tokenizer.json", text::tiny_tokenizer_json());
  }
  static std::string model() { return path("model"); }
  static std::string render(const std::string& options) {
    return "prompt render " + model() + " " + options + " --file ";
  }
  static std::string parse(const std::string& options) {
    return "prompt parse " + model() + " " + options + " --file ";
  }
};

TEST_F(TextCommandsTest, TokenizesArgumentsFilesAndStandardInput) {
  EXPECT_EQ(tessera("tokenize " + model() + " 'abcd abc'").text, "{\"ids\":[260,32,258]}\n");
  const std::string file = write("text.txt", "abcd abc");
  EXPECT_EQ(tessera("tokenize " + model() + " --file " + file).text, "{\"ids\":[260,32,258]}\n");
  EXPECT_EQ(tessera("tokenize " + model() + " --file - <" + file).text, "{\"ids\":[260,32,258]}\n");
  EXPECT_EQ(tessera("tokenize " + model() + " ''").text, "{\"ids\":[]}\n");
}

TEST_F(TextCommandsTest, ControlTokensCountUnlessTheTextIsLiteral) {
  EXPECT_EQ(tessera("tokenize " + model() + " '<s>'").text, "{\"ids\":[262]}\n");
  EXPECT_EQ(tessera("tokenize " + model() + " '<s>' --literal").text, "{\"ids\":[60,115,62]}\n");
}

TEST_F(TextCommandsTest, DecodesNumbersAndItsOwnOutput) {
  EXPECT_EQ(tessera("tokenize " + model() + " --decode 262,260,32,98").text, "<s>abcd b\n");
  EXPECT_EQ(tessera("tokenize " + model() + " --decode '262 98' --skip-special").text, "b\n");
  EXPECT_EQ(tessera("tokenize " + model() + " --decode '{\"ids\":[260, 98]}' --json").text,
            "{\"text\":\"abcdb\"}\n");
}

TEST_F(TextCommandsTest, WrongInputOfTokenizeIsNamed) {
  const std::string tokenize = "tokenize " + model() + " ";
  expect_usage(tokenize, "tessera: no text; give TEXT, or --file FILE (- is standard input)");
  expect_usage(tokenize + "a --file b", "tessera: TEXT and --file are both given; give one");
  expect_usage(tokenize + "--decode 5,x",
               "tessera: \"x\" is not a token id; ids are numbers such as 5,6,7");
  expect_usage(tokenize + "--decode 5,264", "tessera: no token 264; this tokenizer has 0 to 263");
  expect_usage(tokenize + "--decode 99999999999999",
               "tessera: \"99999999999999\" is not a token id; ids are numbers such as 5,6,7");
  expect_usage(tokenize + "$(printf 'a\\377')",
               "tessera: TEXT is not UTF-8: no character begins at byte 1 (0xFF)");
  const std::string cut = write("cut.txt", "ab\xE4\xB8");
  expect_usage(tokenize + "--file " + cut,
               "tessera: \"" + cut + "\" is not UTF-8: a character is cut off at byte 2 (0xE4)");
  expect_error(tokenize + "--file " + path("none.txt"), 1,
               "tessera: no file \"" + path("none.txt") + "\"");
  expect_error(tokenize + "--file " + model(), 1,
               "tessera: \"" + model() + "\" is a folder, a file is needed");
  expect_error(
      "tokenize " + path("none") + " a", 1,
      "tessera: no model \"" + path("none") + "\"; give the folder of a checkpoint, or tiny");
  write("empty/readme", "");
  expect_error(
      "tokenize " + path("empty") + " a", 1,
      "tessera: \"" + path("empty") +
          "\" has no tokenizer.json and so takes no text; copy the one of the model's repository "
          "there, or give `run` token ids with --ids");
  const std::string broken = write("broken/tokenizer.json", "{\"model\":");
  const Output output = tessera("tokenize " + path("broken") + " a");
  EXPECT_EQ(output.exit_code, 1);
  EXPECT_TRUE(contains(output, "tessera: reading " + broken + ": ")) << output.text;
}

TEST_F(TextCommandsTest, RendersConversations) {
  const std::string file = write("chat.json", R"({"messages":[{"role":"user","content":"a<s>"}]})");
  EXPECT_EQ(Json::parse(tessera(render("") + file).text),
            Json({{"prompt", "<｜begin▁of▁sentence｜><｜User｜>a<s><｜Assistant｜></think>"}}));
  EXPECT_EQ(Json::parse(tessera(render("--thinking-mode thinking") + file).text),
            Json({{"prompt", "<｜begin▁of▁sentence｜><｜User｜>a<s><｜Assistant｜><think>"}}));
  const auto ids = [&](const std::string& options) {
    return Json::parse(tessera(render(options) + file).text).at("ids").get<std::vector<int>>();
  };
  const auto count = [](const std::vector<int>& all) { return std::ranges::count(all, 262); };
  EXPECT_EQ(count(ids("--ids")), 0);  // typed by the user: text
  EXPECT_EQ(count(ids("--ids --control-tokens")), 1);
}

TEST_F(TextCommandsTest, EffortsDependOnTheEncodingOfTheFolder) {
  const std::string file = write("chat.json", R"([{"role":"user","content":"a"}])");
  const std::string options = "--thinking-mode thinking --effort low";
  expect_usage(
      render(options) + file,
      "tessera: reasoning effort \"low\" is not known to this model, expected high or max");
  EXPECT_EQ(tessera(render(options + " --encoding 0731") + file).exit_code, 0);
  write("model/config.json", R"({"dspark_block_size": 5})");
  EXPECT_EQ(tessera(render(options) + file).exit_code, 0);
  fs::remove(path("model/config.json"));
}

TEST_F(TextCommandsTest, WrongInputOfRenderIsNamed) {
  const auto expect = [&](const std::string& json, const std::string& text) {
    const std::string file = write("wrong.json", json);
    expect_usage(render("") + file, "tessera: \"" + file + "\": " + text);
    expect_usage(render("") + "- <" + file, "tessera: standard input: " + text);
  };
  expect(R"([{"role":"narrator"}])",
         "messages[0].role: unknown role \"narrator\", expected system, developer, user, "
         "assistant, tool or latest_reminder");
  expect(R"({"messages":[{"role":"user","content":"a"}],"tools":[{"type":"function"}]})",
         "tools[0] has no object \"function\"");
  expect(R"({"messages":[{"role":"user","content":"a"}],"tools":5})",
         "tools must be a list, not a number");
  expect(R"({"messages":[)", "not valid JSON at byte 14");
  expect(R"({})", "\"messages\" is missing");
  const std::string file = write("bytes.json", "[{\"role\":\"user\",\"content\":\"\xC0\"}]");
  expect_usage(render("") + file,
               "tessera: \"" + file + "\" is not UTF-8: no character begins at byte 27 (0xC0)");
  expect_usage(render("--thinking-mode deep") + file,
               "tessera: no thinking mode \"deep\"; there are: chat, thinking");
  expect_usage(render("--effort all") + file,
               "tessera: no effort \"all\"; there are: low, high, max");
  expect_usage(render("--encoding v5") + file, "tessera: no encoding \"v5\"; there are: v4, 0731");
  expect_error(
      "prompt render " + path("none") + " --file " + file, 1,
      "tessera: no model \"" + path("none") + "\"; give the folder of a checkpoint, or tiny");
}

TEST_F(TextCommandsTest, TakesCompletionsApart) {
  const std::string file = write(
      "answer.json",
      R"({"text":"so</think>yes\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter name=\"n\" string=\"false\">[1]</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls><｜end▁of▁sentence｜>"})");
  const Json call = {{"type", "function"},
                     {"function", {{"name", "f"}, {"arguments", "{\"n\": [1]}"}}}};
  const Json expected = {{"role", "assistant"},
                         {"content", "yes"},
                         {"reasoning_content", "so"},
                         {"tool_calls", Json::array({call})}};
  EXPECT_EQ(Json::parse(tessera(parse("--thinking-mode thinking") + file).text), expected);
  EXPECT_EQ(Json::parse(tessera(parse("--thinking-mode thinking --strict") + file).text), expected);
  const Json other = Json::parse(tessera(parse("--thinking-mode thinking --tool g") + file).text);
  EXPECT_TRUE(other.at("tool_calls").empty());
  EXPECT_NE(other.at("content").get<std::string>().find("invoke"), std::string::npos);
}

TEST_F(TextCommandsTest, WrongInputOfParseIsNamed) {
  const auto expect = [&](const std::string& json, const std::string& text) {
    const std::string file = write("wrong.json", json);
    expect_usage(parse("") + file, "tessera: \"" + file + "\": " + text);
  };
  expect(R"({"content":"a"})", "\"text\" is missing");
  expect(R"({"text":5})", "\"text\" must be text, not a number");
  expect(R"({"text":"a)", "not valid JSON at byte 11");
  const std::string cut = write("cut.json", R"({"text":"a"})");
  EXPECT_EQ(tessera(parse("") + cut).exit_code, 0);
  expect_usage(parse("--strict") + cut, "tessera: the end-of-sentence token is missing");
}

}  // namespace
}  // namespace tessera
