// SPDX-License-Identifier: Apache-2.0
#include "tessera/cli/command_line.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <deque>

#include "tessera/ops/frame/near_names.h"

namespace tessera::cli {
namespace {

using Kind = OptionSpec::Kind;

constexpr OptionSpec kJson{"--json", Kind::kFlag, "", "Print JSON instead of text"};

/// "-o,--output" -> "output"
std::string long_name(std::string_view names) {
  const size_t dashes = names.rfind("--");
  return std::string(names.substr(dashes + 2));
}

class Parser {
 public:
  Parser(std::string_view program, std::string_view version, std::span<const CommandSpec> commands)
      : app_("", std::string(program)),
        version_(fmt::format("{} {}", program, version)),
        commands_(commands) {
    app_.require_subcommand(0, 1);
    app_.set_version_flag("--version", version_);
    app_.get_formatter()->column_width(32);
    for (const CommandSpec& command : commands) add(command);
  }

  ParsedCommand run(int argc, const char* const* argv) {
    ParsedCommand parsed;
    try {
      if (argc <= 1) {
        parsed.text = help(&app_);
        return parsed;
      }
      app_.parse(argc, argv);
      take(parsed);
    } catch (const CLI::CallForHelp&) {
      parsed.text = help(deepest(&app_));
    } catch (const CLI::CallForVersion&) {
      parsed.text = version_ + "\n";
    } catch (const CLI::ParseError& error) {
      parsed.text = fmt::format("{}: {}; see `{} --help`\n", app_.get_name(),
                                explain(error, argc, argv), path_of(deepest(&app_)));
      parsed.exit_code = 2;
    }
    return parsed;
  }

 private:
  struct Leaf {
    CLI::App* app;
    const CommandSpec* command;
    std::vector<std::pair<std::string, CLI::Option*>> options;
  };

  void add(const CommandSpec& command) {
    CLI::App* parent = &app_;
    std::string_view path = command.path;
    for (size_t space; (space = path.find(' ')) != path.npos; path.remove_prefix(space + 1)) {
      const std::string group(path.substr(0, space));
      CLI::App* found = child(parent, group);
      parent = found != nullptr ? found : parent->add_subcommand(group);
      parent->require_subcommand(1);
    }
    CLI::App* app = parent->add_subcommand(std::string(path), std::string(command.summary));
    app->footer(std::string(command.details));
    Leaf leaf{app, &command, {}};
    for (const PositionalSpec& spec : command.positionals) {
      if (spec.name.ends_with("..")) {  // all words from here on
        const std::string name(spec.name.substr(0, spec.name.size() - 2));
        auto* option = app->add_option(name, lists_.emplace_back(), std::string(spec.help));
        option->required(spec.required);
        option->type_name("");
        leaf.options.emplace_back(name, option);
        continue;
      }
      auto* option =
          app->add_option(std::string(spec.name), texts_.emplace_back(), std::string(spec.help));
      option->required(spec.required);
      option->type_name("");
      leaf.options.emplace_back(spec.name, option);
    }
    for (const OptionSpec& spec : command.options) leaf.options.push_back(add_option(app, spec));
    leaf.options.push_back(add_option(app, kJson));
    leaves_.push_back(std::move(leaf));
  }

  static CLI::App* child(CLI::App* parent, const std::string& name) {
    const auto found =
        parent->get_subcommands([&](CLI::App* app) { return app->get_name() == name; });
    return found.empty() ? nullptr : found[0];
  }

  std::pair<std::string, CLI::Option*> add_option(CLI::App* app, const OptionSpec& spec) {
    const std::string names(spec.names), help(spec.help);
    CLI::Option* option = nullptr;
    if (spec.kind == Kind::kFlag)
      option = app->add_flag(names, help);
    else if (spec.kind == Kind::kNumber)
      option =
          app->add_option(names, numbers_.emplace_back(), help)->type_name(std::string(spec.value));
    else if (spec.kind == Kind::kText)
      option =
          app->add_option(names, texts_.emplace_back(), help)->type_name(std::string(spec.value));
    else
      option = app->add_option(names, lists_.emplace_back(), help)
                   ->type_name(std::string(spec.value))
                   ->expected(1)
                   ->take_all();
    return {long_name(spec.names), option};
  }

  void take(ParsedCommand& parsed) {
    for (const Leaf& leaf : leaves_) {
      if (!leaf.app->parsed()) continue;
      parsed.command = leaf.command;
      for (const auto& [name, option] : leaf.options)
        if (option->count() > 0) parsed.arguments.add(name, option->results());
      return;
    }
    parsed.text = help(&app_);
  }

  /// Of a command: its options. Of a group of commands: the commands in it.
  std::string help(CLI::App* app) const {
    const std::string path = path_of(app);
    if (app->get_subcommands([](CLI::App*) { return true; }).empty())
      return app->help(path_of(app->get_parent())) + "\n";
    std::string text = fmt::format(
        "Tessera: one source, every chip. {}\n\nUsage: {} COMMAND [OPTIONS]\n\nCommands:\n",
        version_, path);
    const std::string prefix = app == &app_ ? "" : path.substr(app_.get_name().size() + 1) + " ";
    for (const CommandSpec& command : commands_)
      if (command.path.starts_with(prefix))
        text += fmt::format("  {:<12} {}\n", command.path, command.summary);
    text +=
        "\nOptions:\n  --help       Explain a command: COMMAND --help\n"
        "  --json       Print JSON instead of text (all commands)\n  --version    Print the "
        "version\n";
    return text + fmt::format("\nStart with: {} tour\n", app_.get_name());
  }

  static CLI::App* deepest(CLI::App* app) {
    for (CLI::App* child : app->get_subcommands()) return deepest(child);
    return app;
  }

  static std::string path_of(const CLI::App* app) {
    return app->get_parent() == nullptr ? app->get_name()
                                        : path_of(app->get_parent()) + " " + app->get_name();
  }

  /// CLI11's text, or for an unknown command the nearest ones.
  std::string explain(const CLI::ParseError& error, int argc, const char* const* argv) {
    CLI::App* app = deepest(&app_);
    const auto children = app->get_subcommands([](CLI::App*) { return true; });
    if (children.empty()) return error.what();
    std::vector<std::string_view> names;
    for (const CLI::App* child : children) names.push_back(child->get_name());
    const std::string path = path_of(app);
    const int depth = static_cast<int>(std::count(path.begin(), path.end(), ' ')) + 1;
    if (depth >= argc) return fmt::format("which one: {}?", fmt::join(names, ", "));
    const std::string_view word = argv[depth];
    if (word.starts_with('-')) return error.what();
    const auto near = ops::near_names(word, names);
    return fmt::format("no command \"{}\"; {}: {}", word,
                       near.empty() ? "there are" : "did you mean",
                       fmt::join(near.empty() ? names : near, ", "));
  }

  CLI::App app_;
  std::string version_;
  std::span<const CommandSpec> commands_;
  std::vector<Leaf> leaves_;
  // What CLI11 parses into; read through Option::results().
  std::deque<std::string> texts_;
  std::deque<double> numbers_;
  std::deque<std::vector<std::string>> lists_;
};

}  // namespace

ParsedCommand parse_command_line(std::string_view program, std::string_view version,
                                 std::span<const CommandSpec> commands, int argc,
                                 const char* const* argv) {
  return Parser(program, version, commands).run(argc, argv);
}

}  // namespace tessera::cli
