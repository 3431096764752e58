// SPDX-License-Identifier: Apache-2.0
#include "tessera/cli/chat_folder.h"

#include <fmt/format.h>

#include "tessera/base/mapped_file.h"
#include "tessera/text/json_value.h"

namespace tessera::cli {

namespace fs = std::filesystem;

Result<fs::path> model_folder(const std::string& model) {
  std::error_code failure;
  if (model == "tiny") {
    const fs::path program = fs::read_symlink("/proc/self/exe", failure);
    const fs::path folder = program.parent_path().parent_path() / "share/tessera/models" / model;
    if (fs::is_directory(folder, failure)) return folder;
    return not_found(fmt::format(
        "the model \"tiny\" is not there: no folder \"{}\"; build or install the program with its "
        "models",
        folder.string()));
  }
  if (fs::is_directory(model, failure)) return fs::path(model);
  return not_found(fmt::format("no model \"{}\"; give the folder of a checkpoint, or tiny", model));
}

Result<fs::path> tokenizer_file(const fs::path& folder) {
  std::error_code failure;
  const fs::path file = folder / "tokenizer.json";
  if (!fs::exists(file, failure))
    return not_found(fmt::format(
        "\"{}\" has no tokenizer.json and so takes no text; copy the one of the model's "
        "repository there, or give `run` token ids with --ids",
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
  const std::string mode =
      arguments.text("thinking-mode", arguments.flag("thinking") ? "thinking" : "chat");
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
