// SPDX-License-Identifier: Apache-2.0
// The folder of a checkpoint, and what it says about text: its tokenizer and the version of its
// chat encoding.
#pragma once

#include <filesystem>
#include <string>

#include "tessera/base/result.h"
#include "tessera/cli/command.h"
#include "tessera/text/chat_encoding.h"
#include "tessera/text/tokenizer.h"

namespace tessera::cli {

inline constexpr OptionSpec kThinkingModeOption{"--thinking-mode", OptionSpec::Kind::kText, "MODE",
                                                "chat (default) or thinking"};
inline constexpr OptionSpec kEffortOption{
    "--effort", OptionSpec::Kind::kText, "EFFORT",
    "How long to think: high or max; low, high or max for 0731 checkpoints"};
inline constexpr OptionSpec kEncodingOption{
    "--encoding", OptionSpec::Kind::kText, "VERSION",
    "Chat encoding: v4 or 0731 (default: what config.json of the folder is for)"};

/// The folder that MODEL (or DIR) names: "tiny" is ../share/tessera/models/tiny from the program's
/// folder. Errors: not_found.
Result<std::filesystem::path> model_folder(const std::string& model);

/// tokenizer.json of `folder`. Errors: not_found.
Result<std::filesystem::path> tokenizer_file(const std::filesystem::path& folder);
Result<text::Tokenizer> load_tokenizer(const std::filesystem::path& folder);

/// Of --encoding, else of the folder: config.json of the 0731 checkpoints has dspark fields.
Result<text::ChatVersion> chat_version(const Arguments& arguments,
                                       const std::filesystem::path& folder);

/// Version, --thinking-mode or --thinking, and --effort. Wrong use: a name that is none of these.
Result<text::ChatOptions> chat_options(const Arguments& arguments,
                                       const std::filesystem::path& folder);

}  // namespace tessera::cli
