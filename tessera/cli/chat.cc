// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "tessera/base/mapped_file.h"
#include "tessera/cli/answer_printer.h"
#include "tessera/cli/chat_folder.h"
#include "tessera/cli/commands.h"
#include "tessera/cli/interrupt.h"
#include "tessera/cli/line_reader.h"
#include "tessera/cli/loaded_model.h"
#include "tessera/cli/progress_bar.h"
#include "tessera/cli/text_input.h"

namespace tessera::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kHelp =
    "/think          let the model reason before it answers\n"
    "/nothink        let it answer at once\n"
    "/clear          forget the conversation\n"
    "/save [FILE]    write the conversation as JSON (default chat.json)\n"
    "/exit           leave; so does Ctrl-D\n"
    "Ctrl-C stops an answer. A line that ends in \\ goes on in the next one.\n";

Json message_json(const text::Message& message) {
  Json json = {{"role", name(message.role)}, {"content", message.content}};
  if (!message.reasoning_content.empty()) json["reasoning_content"] = message.reasoning_content;
  if (!message.tool_calls.empty()) json["tool_calls"] = calls_json(message.tool_calls);
  return json;
}

class Chat {
 public:
  Chat(const Arguments& arguments, const LoadedModel& loaded)
      : arguments_(arguments), conversation_(*loaded.generator, *loaded.tokenizer) {}

  Result<int> run(const std::filesystem::path& folder, engine::Request request) {
    TESSERA_ASSIGN(conversation_.chat, chat_options(arguments_, folder));
    conversation_.request = std::move(request);
    start();
    note(fmt::format("Talking to {}. /help lists commands.", folder.filename().string()));
    while (const auto line = read()) {
      if (line->empty()) continue;
      if (line->starts_with('/')) {
        if (!command(*line)) break;
      } else {
        answer(*line);
      }
      std::fflush(stdout);
    }
    return 0;
  }

 private:
  std::optional<std::string> read() {
    auto line = lines_.read("> ");
    while (line && line->ends_with('\\')) {
      const auto more = lines_.read("  ");
      if (!more) break;
      line->back() = '\n';
      *line += *more;
    }
    interrupt_.reset();  // pressed while nothing was to be stopped
    return line;
  }

  void start() {
    conversation_.clear();
    if (arguments_.has("system"))
      conversation_.add({.role = text::Role::system, .content = arguments_.text("system")});
  }

  /// False: leave.
  bool command(const std::string& line) {
    const size_t space = line.find(' ');
    const std::string word = line.substr(0, space);
    const std::string rest = space == line.npos ? "" : line.substr(space + 1);
    if (word == "/exit" || word == "/quit") return false;
    if (word == "/think") {
      conversation_.chat.mode = text::ThinkingMode::thinking;
      note("The model reasons before it answers.");
    } else if (word == "/nothink") {
      conversation_.chat.mode = text::ThinkingMode::chat;
      note("The model answers at once.");
    } else if (word == "/clear") {
      start();
      note("The conversation is forgotten.");
    } else if (word == "/save") {
      save(rest.empty() ? "chat.json" : rest);
    } else if (word == "/help") {
      fmt::print(stderr, "{}", kHelp);
    } else {
      complain(fmt::format(
          "no command \"{}\"; there are: /think, /nothink, /clear, /save, /help, /exit", word));
    }
    return true;
  }

  void answer(const std::string& line) {
    const auto text = checked_utf8(line, "the message");
    if (!text.ok()) return complain(text.error().message);
    AnswerPrinter printer(arguments_.json());
    ProgressBar bar;
    bar.update("prompt (the first one compiles kernels)", 0, 1);
    const auto show = [&](const text::Completion& part) {
      bar.clear();
      printer.part(part);
    };
    auto reply = conversation_.ask(
        *text, {.on_part = show, .on_prompt = {}, .cancelled = interrupt_.flag()});
    bar.clear();
    printer.finish();
    if (!reply.ok()) return complain(reply.error().message + "; /clear starts anew");
    if (reply->answer.finish == engine::FinishReason::cancelled) note("(stopped)");
    if (reply->answer.finish == engine::FinishReason::length)
      note("(cut off after --max-new-tokens)");
    if (reply->answer.finish == engine::FinishReason::context)
      note("(the context is full: /clear, or start with a larger --context)");
    if (arguments_.json()) {
      Json json = cli::message_json(reply->completion);
      json.update(answer_json(reply->answer));
      fmt::print("{}\n", json.dump());
    }
    if (arguments_.flag("stats")) fmt::print(stderr, "{}\n", stats_text(reply->answer.stats));
  }

  void save(const std::string& file) {
    Json json = {{"messages", Json::array()}};
    for (const text::Message& message : conversation_.messages())
      json["messages"].push_back(message_json(message));
    const auto written = write_file_atomic(file, json.dump(1) + "\n");
    if (!written.ok()) return complain(written.error().message);
    note(fmt::format("{} messages are in {}", conversation_.messages().size(), file));
  }

  static void note(std::string_view text) { fmt::print(stderr, "{}\n", text); }
  static void complain(std::string_view text) { fmt::print(stderr, "tessera: {}\n", text); }

  const Arguments& arguments_;
  engine::Conversation conversation_;
  LineReader lines_;
  Interrupt interrupt_;
};

Result<int> run(const Arguments& arguments, const Program& program) {
  TESSERA_ASSIGN(engine::Request request, read_request(arguments));
  return with_model(arguments, program, {.snapshots = true}, [&](LoadedModel& loaded) {
    request.end_tokens = loaded.end_tokens;
    return Chat(arguments, loaded).run(loaded.folder, std::move(request));
  });
}

}  // namespace

CommandSpec chat_command() {
  return {.path = "chat",
          .summary = "Talk with a model, turn after turn",
          .details =
              "Commands while talking: /think, /nothink, /clear, /save FILE, /help, /exit.\n"
              "Ctrl-C stops an answer and keeps the conversation.\n"
              "Example: tessera chat DIR --thinking -t 1",
          .positionals = {kModelPositional},
          .options = generation_options({}),
          .run = run};
}

}  // namespace tessera::cli
