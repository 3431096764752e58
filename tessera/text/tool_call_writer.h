// SPDX-License-Identifier: Apache-2.0
// Tool calls in DSML, the markup in which DeepSeek-V4 writes them:
//   <｜DSML｜tool_calls>
//   <｜DSML｜invoke name="f">
//   <｜DSML｜parameter name="s" string="true">text as it is</｜DSML｜parameter>
//   <｜DSML｜parameter name="n" string="false">[1, "JSON"]</｜DSML｜parameter>
//   </｜DSML｜invoke>
//   </｜DSML｜tool_calls>
#pragma once

#include <span>

#include "tessera/text/message.h"
#include "tessera/text/prompt_writer.h"

namespace tessera::text {

/// Appends the block with the blank line before it. Arguments that are no JSON object become one
/// parameter "arguments" that holds them as text.
void write_tool_calls(std::span<const ToolCall> calls, PromptWriter& writer);

}  // namespace tessera::text
