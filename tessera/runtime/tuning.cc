// SPDX-License-Identifier: Apache-2.0
#include "tessera/runtime/tuning.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <vector>

#include "tessera/base/check.h"

namespace tessera::runtime {
namespace {

constexpr std::array<std::string_view, 4> kTiles = {"1", "8", "64", "more"};  // of dot_tile

/// A number and the most it may be; it is a power of two.
struct Field {
  std::string name;
  int64_t* value;
  int64_t most;
};

std::vector<Field> fields_of(Capabilities& c) {
  std::vector<Field> fields = {{"vector_tile", &c.vector_tile, 1024},
                               {"program_grain", &c.program_grain, 1 << 20},
                               {"gemv_rows", &c.gemv_rows, 4096},
                               {"attention_keys", &c.attention_keys, 256}};
  for (size_t i = 0; i < kTiles.size(); ++i) {
    DotTile& tile = c.dot_tile[i];
    const auto add = [&](const char* part, int64_t* value, int64_t most) {
      fields.push_back({fmt::format("dot_tile.{}.{}", kTiles[i], part), value, most});
    };
    if (i > 0) add("m", &tile.m, i == 1 ? 8 : 256);
    add("n", &tile.n, 256);
    add("k", &tile.k, 4096);
  }
  return fields;
}

}  // namespace

Hints hints_of(const Capabilities& capabilities) {
  Capabilities copy = capabilities;
  Hints hints;
  for (const Field& field : fields_of(copy)) hints[field.name] = *field.value;
  return hints;
}

Result<Capabilities> with_hints(Capabilities capabilities, const Hints& hints) {
  std::vector<Field> fields = fields_of(capabilities);
  for (const auto& [name, value] : hints) {
    const auto field =
        std::find_if(fields.begin(), fields.end(), [&](const Field& f) { return f.name == name; });
    if (field == fields.end()) return invalid_argument(fmt::format("no hint \"{}\"", name));
    if (value < 1 || value > field->most || !std::has_single_bit(static_cast<uint64_t>(value)))
      return invalid_argument(
          fmt::format("{} is {}, wanted a power of two from 1 to {}", name, value, field->most));
    *field->value = value;
  }
  return capabilities;
}

std::vector<Capabilities> neighbours(const Capabilities& capabilities) {
  std::vector<Capabilities> all;
  for (const auto& [name, value] : hints_of(capabilities))
    for (const int64_t other : {2 * value, value / 2})
      if (auto changed = with_hints(capabilities, {{name, other}}); changed.ok())
        all.push_back(*changed);
  return all;
}

Hints difference(const Capabilities& a, const Capabilities& b) {
  const Hints before = hints_of(a);
  Hints changed = hints_of(b);
  std::erase_if(changed, [&](const auto& hint) { return before.at(hint.first) == hint.second; });
  return changed;
}

Result<void> Tuning::set(std::string key, Hints hints) {
  TESSERA_TRY(with_hints({}, hints));
  hints_[std::move(key)] = std::move(hints);
  return {};
}

Capabilities Tuning::apply(std::string_view key, const Capabilities& capabilities) const {
  const auto found = hints_.find(key);
  if (found == hints_.end()) return capabilities;
  auto changed = with_hints(capabilities, found->second);
  TESSERA_CHECK(changed.ok(), "hints of {} were checked", key);
  return *changed;
}

}  // namespace tessera::runtime
