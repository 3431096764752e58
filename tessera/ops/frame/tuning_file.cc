// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/frame/tuning_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>

#include "tessera/base/check.h"
#include "tessera/base/mapped_file.h"

namespace tessera::ops {
namespace {

using nlohmann::json;

constexpr std::string_view kFormat = "tessera tuning 1";

auto order(const Winner& winner) { return std::tie(winner.arch, winner.use); }
bool before(const Winner& a, const Winner& b) { return order(a) < order(b); }

json to_json(const Winner& winner) {
  return {{"arch", winner.arch},
          {"use", winner.use},
          {"hints", winner.hints},
          {"us", winner.seconds * 1e6},
          {"untuned_us", winner.untuned_seconds * 1e6}};
}

Result<Winner> winner_of(const json& entry) {
  const auto has = [&](const char* key, auto is) {
    return entry.is_object() && entry.contains(key) && (entry[key].*is)();
  };
  if (!has("arch", &json::is_string) || !has("use", &json::is_string) ||
      !has("hints", &json::is_object) || !has("us", &json::is_number) ||
      !has("untuned_us", &json::is_number))
    return corrupt("wants \"arch\", \"use\", \"hints\", \"us\" and \"untuned_us\"");
  Winner winner = {.arch = entry["arch"].get<std::string>(),
                   .use = entry["use"].get<std::string>(),
                   .hints = {},
                   .seconds = entry["us"].get<double>() * 1e-6,
                   .untuned_seconds = entry["untuned_us"].get<double>() * 1e-6};
  for (const auto& [name, value] : entry["hints"].items()) {
    if (!value.is_number_integer()) return corrupt(fmt::format("{} is no whole number", name));
    winner.hints[name] = value.get<int64_t>();
  }
  auto checked = runtime::with_hints({}, winner.hints);
  if (!checked.ok()) return corrupt(checked.error().message);
  return winner;
}

}  // namespace

Result<TuningFile> TuningFile::parse(std::string_view text, std::string_view source) {
  const json document = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!document.is_object() || document.value("format", json()) != kFormat ||
      !document.contains("winners") || !document["winners"].is_array())
    return corrupt(fmt::format("{} is no tuning file of format \"{}\"; `tessera tune` makes one",
                               source, kFormat));
  TuningFile file;
  for (size_t i = 0; i < document["winners"].size(); ++i) {
    auto winner = winner_of(document["winners"][i]);
    if (!winner.ok())
      return corrupt(fmt::format("{}: winner {}: {}", source, i, winner.error().message));
    file.set(std::move(*winner));
  }
  return file;
}

Result<TuningFile> TuningFile::open(const std::filesystem::path& path) {
  auto file = MappedFile::open(path);
  if (!file.ok()) return std::move(file).context("opening the tuning file").error();
  const auto bytes = file->bytes();
  return parse({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path.string());
}

void TuningFile::set(Winner winner) {
  const auto place = std::lower_bound(winners_.begin(), winners_.end(), winner, before);
  const bool known = place != winners_.end() && order(*place) == order(winner);
  if (winner.hints.empty()) {
    if (known) winners_.erase(place);
  } else if (known) {
    *place = std::move(winner);
  } else {
    winners_.insert(place, std::move(winner));
  }
}

void TuningFile::merge(const TuningFile& other) {
  for (const Winner& winner : other.winners_) set(winner);
}

std::string TuningFile::text() const {
  json winners = json::array();
  for (const Winner& winner : winners_) winners.push_back(to_json(winner));
  return json({{"format", kFormat}, {"winners", winners}}).dump(1) + "\n";
}

Result<void> TuningFile::write(const std::filesystem::path& path) const {
  const std::string all = text();
  return write_file_atomic(path, std::as_bytes(std::span(all))).context("writing the tuning file");
}

std::shared_ptr<const runtime::Tuning> TuningFile::tuning_for(std::string_view arch) const {
  auto tuning = std::make_shared<runtime::Tuning>();
  for (const Winner& winner : winners_) {
    if (winner.arch != arch) continue;
    const auto set = tuning->set(winner.use, winner.hints);
    TESSERA_CHECK(set.ok(), "hints for {} were checked", winner.use);
  }
  return tuning->empty() ? nullptr : tuning;
}

}  // namespace tessera::ops
