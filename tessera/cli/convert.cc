// SPDX-License-Identifier: Apache-2.0
// A checkpoint written anew with its weights in another format.
#include "tessera/model/deepseek_v4/conversion/convert.h"

#include <fmt/format.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "tessera/cli/commands.h"
#include "tessera/cli/number_text.h"
#include "tessera/cli/progress_bar.h"

namespace tessera::cli {
namespace {

using namespace model::deepseek_v4;
using nlohmann::json;

Result<ConversionOptions> conversion_options(const Arguments& arguments) {
  ConversionOptions options;
  const std::string form = arguments.text("to");
  if (form.empty()) return invalid_argument("--to is missing: bf16, fp8, int8 or native");
  const auto parsed = parse_weight_form(form);
  if (!parsed)
    return invalid_argument(
        fmt::format("--to is \"{}\"; bf16, fp8, int8 and native are possible", form));
  options.form = *parsed;
  if (arguments.has("layers")) {
    TESSERA_ASSIGN(options.layers, parse_layer_range(arguments.text("layers")).context("--layers"));
  }
  TESSERA_ASSIGN(options.ranks, positive_option(arguments, "tp", 1));
  if (arguments.flag("round")) options.inexact = checkpoint::Inexact::round;
  return options;
}

/// "1.2 GiB/s, 3 min left"
class Rate {
 public:
  std::string text(const ConversionProgress& progress) const {
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
    if (seconds < 0.5 || progress.done == 0) return "converting";
    const double rate = static_cast<double>(progress.done) / seconds;
    const double left = static_cast<double>(progress.total - progress.done) / rate;
    return fmt::format(
        "converting, {}/s, {}", size_text(rate),
        left < 90 ? fmt::format("{:.0f} s left", left) : fmt::format("{:.0f} min left", left / 60));
  }

 private:
  const std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

size_t tensor_count(const ConversionPlan& plan) { return plan.index.weights.size(); }

json plan_json(const ConversionPlan& plan, const ConversionStart& start) {
  json files = json::array();
  for (const PlannedShard& shard : plan.shards)
    files.push_back(
        {{"file", shard.file}, {"tensors", shard.tensors().size()}, {"bytes", shard.bytes}});
  return {{"to", name(plan.options.form)},
          {"tensors", tensor_count(plan)},
          {"bytes_read", plan.bytes_read},
          {"bytes_written", plan.bytes_written},
          {"files", files},
          {"files_there", plan.shards.size() - start.missing.size()},
          {"bytes_missing", start.bytes_missing},
          {"bytes_free", start.bytes_free}};
}

void print_plan(const ConversionPlan& plan, const ConversionStart& start, bool dry) {
  const auto size = [](uint64_t bytes) { return size_text(static_cast<double>(bytes)); };
  fmt::print("{} -> {}: {} tensors, {} read, {} in {} file{}{}\n", plan.folder.string(),
             name(plan.options.form), grouped(tensor_count(plan)), size(plan.bytes_read),
             size(plan.bytes_written), plan.shards.size(), plan.shards.size() == 1 ? "" : "s",
             start.missing.size() == plan.shards.size()
                 ? ""
                 : fmt::format(", {} there already", plan.shards.size() - start.missing.size()));
  if (!dry) return;
  for (const PlannedShard& shard : plan.shards)
    fmt::print("  {:<44} {:>7} tensors {:>11}\n", shard.file, grouped(shard.tensors().size()),
               size(shard.bytes));
  for (const auto& file : plan.copied) fmt::print("  {}\n", file.string());
  fmt::print("  {}\n  config.json\nnothing is written; {} are free\n",
             checkpoint::WeightIndex::kFileName, size(start.bytes_free));
}

json result_json(const ConversionPlan& plan, const ConversionResult& result) {
  json object = {{"to", name(plan.options.form)},
                 {"files_written", result.shards},
                 {"files_kept", result.kept},
                 {"bytes_read", result.bytes_read},
                 {"bytes_written", result.bytes_written},
                 {"seconds", result.seconds}};
  if (plan.options.form == WeightForm::int8)
    object["error"] = {{"relative", result.loss.int8.relative()},
                       {"largest", result.loss.int8.largest}};
  if (plan.options.inexact == checkpoint::Inexact::round)
    object["rounded"] = {{"blocks", result.loss.rounding.blocks},
                         {"largest", result.loss.rounding.largest}};
  return object;
}

void print_result(const ConversionPlan& plan, const ConversionResult& result) {
  const auto bytes = static_cast<double>(result.bytes_written);
  if (result.shards == 0)
    fmt::print("all is there already: {} file{}\n", result.kept, result.kept == 1 ? "" : "s");
  else
    fmt::print("wrote {} file{}, {} in {:.1f} s, {}/s\n", result.shards,
               result.shards == 1 ? "" : "s", size_text(bytes), result.seconds,
               size_text(bytes / result.seconds));
  if (result.shards == 0) return;
  const std::string_view of = result.kept > 0 ? " (of the files written now)" : "";
  if (plan.options.form == WeightForm::int8)
    fmt::print(
        "int8 experts: root mean square error {:.3g} of that of the values, at most {:.3g} of the "
        "largest value of a row{}\n",
        result.loss.int8.relative(), result.loss.int8.largest, of);
  if (plan.options.inexact == checkpoint::Inexact::round)
    fmt::print("{} blocks were rounded, by at most {:.3g} of their largest value{}\n",
               grouped(static_cast<uint64_t>(result.loss.rounding.blocks)),
               result.loss.rounding.largest, of);
}

Result<int> run(const Arguments& arguments, const Program&) {
  TESSERA_ASSIGN(const ConversionOptions options, conversion_options(arguments));
  TESSERA_ASSIGN(const int64_t jobs, positive_option(arguments, "jobs", 1));
  const bool dry = arguments.flag("dry-run");
  TESSERA_ASSIGN(const ConversionPlan plan, plan_conversion(arguments.text("SRC"), options));
  const std::string destination = arguments.text("DST");
  TESSERA_ASSIGN(const ConversionStart start, look_at_destination(plan, destination));
  if (!arguments.json()) print_plan(plan, start, dry);
  if (dry) {
    if (arguments.json()) fmt::print("{}\n", plan_json(plan, start).dump(1));
    return 0;
  }
  std::fflush(stdout);
  ProgressBar bar;
  const Rate rate;
  auto converted = convert(plan, destination, arguments.has("jobs") ? static_cast<int>(jobs) : 0,
                           [&](const ConversionProgress& progress) {
                             bar.update(rate.text(progress), progress.done >> 20,
                                        std::max<uint64_t>(1, progress.total >> 20));
                           });
  bar.clear();
  TESSERA_ASSIGN(const ConversionResult result, std::move(converted));
  if (arguments.json())
    fmt::print("{}\n", result_json(plan, result).dump(1));
  else
    print_result(plan, result);
  return 0;
}

}  // namespace

CommandSpec convert_command() {
  using Kind = OptionSpec::Kind;
  return {
      .path = "convert",
      .summary = "Write a checkpoint anew with its weights in another format",
      .details =
          "DST becomes a whole checkpoint: weights, index, config.json, tokenizer. What `run` does "
          "needs no conversion; it is for chips and programs that want another format.\n"
          "  bf16    FP4 and FP8 widened, exactly\n"
          "  fp8     FP4 experts as FP8 with 128x128 scales, exactly; blocks that cannot be are "
          "refused, or rounded with --round\n"
          "  int8    experts as INT8, one scale a row; the error is measured and printed\n"
          "  native  as they are, for --tp and --layers\n"
          "A conversion that was stopped, however that was, goes on when it is started again.\n"
          "Example: tessera convert DIR DIR-bf16 --to bf16",
      .positionals = {{"SRC", "Folder of a checkpoint"}, {"DST", "Folder to write"}},
      .options = {{"--to", Kind::kText, "FORM", "bf16, fp8, int8 or native"},
                  {"--tp", Kind::kNumber, "N",
                   "Files for N ranks: the experts of each in files of its own (default 1)"},
                  {"--layers", Kind::kText, "A-B",
                   "Only these layers, as a smaller model without draft layers"},
                  {"--round", Kind::kFlag, "", "Round what fp8 cannot hold instead of refusing it"},
                  {"--jobs", Kind::kNumber, "N", "Files at a time (default: one a core)"},
                  {"--dry-run", Kind::kFlag, "", "Say what would be written, and write nothing"}},
      .run = run};
}

}  // namespace tessera::cli
