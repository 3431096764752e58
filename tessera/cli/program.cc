// SPDX-License-Identifier: Apache-2.0
#include "tessera/cli/program.h"

#include <fmt/format.h>

#include <cstdio>
#include <exception>

#include "tessera/base/log.h"
#include "tessera/cli/command_line.h"
#include "tessera/cli/commands.h"
#include "tessera/cli/rank_job.h"
#include "tessera/cli/version.h"  // generated

namespace tessera::cli {
namespace {

/// What happened, then why, without our source location unless logging is verbose.
std::string message(const Error& error) {
  std::string text;
  for (auto step = error.context.rbegin(); step != error.context.rend(); ++step)
    text += *step + ": ";
  text += error.message;
  if (log_enabled(LogLevel::debug))
    text += fmt::format(" [{} at {}:{}]", name(error.code), error.where.file_name(),
                        error.where.line());
  return text;
}

}  // namespace

int run_program(const Program& program, int argc, const char* const* argv) {
  const std::vector<CommandSpec> commands = {
      run_command(),      chat_command(),      inspect_command(),       plan_command(),
      convert_command(),  chips_command(),     ops_list_command(),      ops_show_command(),
      ops_test_command(), ops_bench_command(), bench_model_command(),   pack_command(),
      tune_command(),     tokenize_command(),  prompt_render_command(), prompt_parse_command(),
      verify_command(),   eval_command(),      doctor_command(),        tour_command(),
      launch_command(),
  };
  try {
    const ParsedCommand parsed = parse_command_line(program.name, kVersion, commands, argc, argv);
    if (parsed.command == nullptr) {
      fmt::print(parsed.exit_code == 0 ? stdout : stderr, "{}", parsed.text);
      return parsed.exit_code;
    }
    const Result<int> result = parsed.command->run(parsed.arguments, program);
    std::fflush(stdout);
    if (result.ok()) return *result;
    if (!RankJob::is_silent())
      fmt::print(stderr, "{}: {}\n", program.name, message(result.error()));
    return result.error().code == ErrorCode::invalid_argument ? 2 : 1;
  } catch (const std::exception& error) {  // of a library: we throw none
    fmt::print(stderr, "{}: {}\n", program.name, error.what());
    return 1;
  }
}

}  // namespace tessera::cli
