// SPDX-License-Identifier: Apache-2.0
#include "tessera/cli/chat_folder.h"

#include <fmt/format.h>

#include "tessera/base/mapped_file.h"
#include "tessera/text/json_value.h"

namespace tessera::cli {

namespace fs = std::filesystem;

Result<fs::path> tokenizer_file(const fs::path& folder) {
  std::error_code failure;
  if (!fs::is_directory(folder, failure))
    return not_found(
        fmt::format("no folder \"{}\"; give the folder of a checkpoint", folder.string()));
  const fs::path file = folder / "tokenizer.json";
  if (!fs::exists(file, failure))
    return not_found(
        fmt::format("\"{}\" has no tokenizer.json; copy the one of the model's repository there",
                    folder.string()));
  return file;
}

Result<text::Tokenizer> load_tokenizer(const fs::path& folder) {
  TESSERA_ASSIGN(const fs::path file, tokenizer_file(folder));
  return text::Tokenizer::load(file).context(fmt::format("reading {}", file.string()));
}

Result<text::ChatVersion> chat_version(const Arguments& arguments, const fs::path& folder) {
  const std::string version = arguments.text("encoding");
  if (version == "v4") return text::ChatVersion::v4;
  if (version == "0731") return text::ChatVersion::v4_0731;
  if (!version.empty())
    return invalid_argument(fmt::format("no encoding \"{}\"; there are: v4, 0731", version));
  const fs::path file = folder / "config.json";
  std::error_code failure;
  if (!fs::exists(file, failure)) return text::ChatVersion::v4;
  TESSERA_ASSIGN(const MappedFile config, MappedFile::open(file));
  auto json =
      text::JsonValue::parse(config.text()).context(fmt::format("reading {}", file.string()));
  if (!json.ok()) return std::move(json).error();
  return json->find("dspark_block_size") != nullptr ? text::ChatVersion::v4_0731
                                                    : text::ChatVersion::v4;
}

Result<text::ChatOptions> chat_options(const Arguments& arguments, const fs::path& folder) {
  text::ChatOptions options;
  TESSERA_ASSIGN(options.version, chat_version(arguments, folder));
  const std::string mode = arguments.text("thinking-mode", "chat");
  const auto known_mode = text::find_thinking_mode(mode);
  if (!known_mode)
    return invalid_argument(
        fmt::format("no thinking mode \"{}\"; there are: chat, thinking", mode));
  options.mode = *known_mode;
  if (arguments.has("effort")) {
    const std::string effort = arguments.text("effort");
    options.effort = text::find_reasoning_effort(effort);
    if (!options.effort)
      return invalid_argument(fmt::format("no effort \"{}\"; there are: low, high, max", effort));
  }
  return options;
}

}  // namespace tessera::cli
