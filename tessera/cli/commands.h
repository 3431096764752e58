// SPDX-License-Identifier: Apache-2.0
// All commands, in the order of the help text.
#pragma once

#include "tessera/cli/command.h"

namespace tessera::cli {

CommandSpec run_command();
CommandSpec chat_command();
CommandSpec chips_command();
CommandSpec ops_list_command();
CommandSpec ops_show_command();
CommandSpec ops_test_command();
CommandSpec ops_bench_command();
CommandSpec bench_model_command();
CommandSpec pack_command();
CommandSpec tune_command();
CommandSpec inspect_command();
CommandSpec plan_command();
CommandSpec convert_command();
CommandSpec tokenize_command();
CommandSpec prompt_render_command();
CommandSpec prompt_parse_command();
CommandSpec verify_command();
CommandSpec eval_command();
CommandSpec launch_command();
CommandSpec doctor_command();
CommandSpec tour_command();

}  // namespace tessera::cli
