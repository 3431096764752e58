// SPDX-License-Identifier: Apache-2.0
// A model ready to answer, opened from the options that `run` and `chat` share.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "tessera/cli/rank_job.h"
#include "tessera/cli/session.h"
#include "tessera/engine/conversation.h"
#include "tessera/engine/deepseek_model.h"
#include "tessera/engine/generator.h"
#include "tessera/text/tokenizer.h"

namespace tessera::cli {

inline constexpr PositionalSpec kModelPositional{"MODEL", "Folder of a checkpoint, or tiny"};

/// Options for with_model() and read_request(), followed by `more`.
std::vector<OptionSpec> generation_options(std::vector<OptionSpec> more);

/// The number of option `name`, at least `least`. Wrong use: one that is not whole.
Result<int64_t> whole_number(const Arguments& arguments, std::string_view name, int64_t fallback,
                             int64_t least);

/// Sampling, stop texts and length as the options say. Wrong use: values out of range.
Result<engine::Request> read_request(const Arguments& arguments);

struct LoadedModel {
  std::filesystem::path folder;
  Session session;  // the device
  std::unique_ptr<engine::DeepSeekModel> model;
  std::unique_ptr<const text::Tokenizer> tokenizer;  // if the folder has one
  std::unique_ptr<engine::Generator> generator;
  std::vector<text::TokenId> end_tokens;  // of config.json
  double seconds = 0;                     // that loading took
  uint64_t planned_bytes = 0;             // of the whole process; 0: not planned
  uint64_t compiling_bytes = 0;           // that making kernels took, not planned
};

/// What a command needs of its model.
struct ModelUse {
  bool tokenizer = true;   // a missing one is an error
  bool snapshots = false;  // prompts will part from earlier ones far back
};

/// Loads the model, for --batch conversations at once, and has rank 0 call `answer`; other ranks
/// follow it until it is done. Shows progress on a terminal. Errors say what to do.
Result<int> with_model(const Arguments& arguments, const Program& program, const ModelUse& use,
                       const std::function<Result<int>(LoadedModel&)>& answer);
/// "sent per token and layer: attention sum 30,720 B, ..", by rank 0; empty for one rank.
std::string traffic_text(const LoadedModel& loaded, const engine::GenerationStats& stats);

/// "prompt 12 tokens (8 reused) in 0.10 s, 40.0 tok/s; answer 30 tokens, 25.0 tok/s; ..."
std::string stats_text(const engine::GenerationStats& stats);

/// "memory 0.9 GiB at most, 0.9 GiB planned", of this process so far.
std::string memory_text(const LoadedModel& loaded);

}  // namespace tessera::cli
