// SPDX-License-Identifier: Apache-2.0
// A model ready to answer, opened from the options that `run` and `chat` share.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "tessera/cli/session.h"
#include "tessera/engine/conversation.h"
#include "tessera/engine/generator.h"
#include "tessera/text/tokenizer.h"

namespace tessera::cli {

inline constexpr PositionalSpec kModelPositional{"MODEL", "Folder of a checkpoint, or tiny"};

/// Options for load_model() and read_request(), followed by `more`.
std::vector<OptionSpec> generation_options(std::vector<OptionSpec> more);

/// Sampling, stop texts and length as the options say. Wrong use: values out of range.
Result<engine::Request> read_request(const Arguments& arguments);

struct LoadedModel {
  std::filesystem::path folder;
  Session session;  // the device
  std::unique_ptr<engine::LanguageModel> model;
  std::unique_ptr<const text::Tokenizer> tokenizer;  // if the folder has one
  std::unique_ptr<engine::Generator> generator;
  std::vector<text::TokenId> end_tokens;  // of config.json
  double seconds = 0;                     // that loading took
};

struct ModelUse {
  bool tokenizer = true;   // a missing one is an error
  bool snapshots = false;  // prompts will part from earlier ones far back
};

/// Shows progress on a terminal. Errors say what to do.
Result<LoadedModel> load_model(const Arguments& arguments, const Program& program,
                               const ModelUse& use);

/// "prompt 12 tokens (8 reused) in 0.10 s, 40.0 tok/s; answer 30 tokens, 25.0 tok/s; ..."
std::string stats_text(const engine::GenerationStats& stats);

}  // namespace tessera::cli
