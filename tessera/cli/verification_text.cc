// SPDX-License-Identifier: Apache-2.0
#include "tessera/cli/verification_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace tessera::cli {

using namespace model::deepseek_v4;
using nlohmann::json;

namespace {

std::string vectors_text(const std::vector<LogitsComparison>& vectors) {
  size_t width = 6;
  for (const LogitsComparison& v : vectors) width = std::max(width, v.name.size());
  std::string text =
      fmt::format("{:<{}} {:>5} {:>9} {:>9} {:>9} {:>13} {:>16}\n", "vector", width, "rows",
                  "max diff", "cosine", "least", "equal argmax", "equal greedy ids");
  for (const LogitsComparison& v : vectors)
    text += fmt::format(
        "{:<{}} {:>5} {:>9.2e} {:>9.6f} {:>9.6f} {:>13} {:>16}\n", v.name, width, v.rows,
        v.max_difference, v.mean_cosine, v.least_cosine,
        fmt::format("{}/{}", v.equal_argmax, v.rows),
        v.greedy_ids == 0 ? "-" : fmt::format("{}/{}", v.equal_greedy_ids, v.greedy_ids));
  return text;
}

std::string layers_text(const std::vector<LayerErrors>& layers) {
  std::string text = fmt::format("{:<5} {:>6} {:>12} {:>12} {:>12}   {}\n", "layer", "rows",
                                 "median", "90th perc.", "worst", "worst row");
  for (size_t i = 0; i < layers.size(); ++i)
    text += fmt::format("{:<5} {:>6} {:>12.2e} {:>12.2e} {:>12.2e}   {}\n", i,
                        layers[i].all().size(), layers[i].median(), layers[i].percentile_90(),
                        layers[i].worst(), layers[i].worst_row());
  return text;
}

std::string check_text(const LimitCheck& check) {
  return fmt::format("{:<6} {}: {:.6g}, {} {:g}{}\n", check.passed() ? "ok" : "FAILED", check.what,
                     check.value, check.at_least ? "at least" : "at most", check.limit,
                     check.passed() ? "" : " allowed");
}

/// JSON has no infinity.
json number(double value) { return std::isfinite(value) ? json(value) : json("inf"); }

}  // namespace

std::string verification_text(const Verification& verification) {
  std::string text = fmt::format("{} against {} numbers\n", name(verification.precision),
                                 name(verification.expected));
  text += vectors_text(verification.vectors);
  if (!verification.layers.empty()) text += layers_text(verification.layers);
  for (const LimitCheck& check : verification.checks) text += check_text(check);
  return text;
}

std::string difference_text(const AgainstReference& against) {
  const std::string part = against.first_part();
  std::vector<OutputDifference> shown;
  for (const OutputDifference& d : against.outputs()) {
    const auto same = std::ranges::find_if(shown, [&](const OutputDifference& s) {
      return part.empty() && s.op == d.op && s.tensor == d.tensor;
    });
    if (same != shown.end())
      *same = same->share() < d.share() ? d : *same;
    else if (part.empty() || d.part == part)
      shown.push_back(d);
  }
  std::string text = fmt::format("{:<18} {:<24} {:<10} {:<7} {:>10} {:>9} {:>9}\n", "part",
                                 "operator", "output", "type", "elements", "differ", "error");
  for (const OutputDifference& d : shown)
    text += fmt::format("{:<18} {:<24} {:<10} {:<7} {:>10} {:>8.3f}% {:>9.1e}{}\n", d.part, d.op,
                        d.tensor, name(d.dtype), d.elements, 100 * d.share(), d.error(),
                        d.departs() ? "  departs" : "");
  return text + (part.empty() ? "no operator departs\n"
                              : fmt::format("{} is the first part that departs\n", part));
}

json difference_json(const AgainstReference& against) {
  json outputs = json::array();
  for (const OutputDifference& d : against.outputs())
    outputs.push_back({{"part", d.part},
                       {"operator", d.op},
                       {"output", d.tensor},
                       {"type", name(d.dtype)},
                       {"elements", d.elements},
                       {"different", d.different},
                       {"error", number(d.error())},
                       {"departs", d.departs()}});
  return outputs;
}

json verification_json(const Verification& verification) {
  json vectors = json::array(), layers = json::array(), checks = json::array();
  for (const LogitsComparison& v : verification.vectors) {
    vectors.push_back({{"name", v.name},
                       {"rows", v.rows},
                       {"max_difference", number(v.max_difference)},
                       {"mean_cosine", v.mean_cosine},
                       {"least_cosine", v.least_cosine},
                       {"equal_argmax", v.equal_argmax}});
    if (v.greedy_ids > 0) {
      vectors.back()["greedy_ids"] = v.greedy_ids;
      vectors.back()["equal_greedy_ids"] = v.equal_greedy_ids;
    }
  }
  for (size_t i = 0; i < verification.layers.size(); ++i) {
    const LayerErrors& errors = verification.layers[i];
    layers.push_back({{"layer", i},
                      {"rows", errors.all().size()},
                      {"median", number(errors.median())},
                      {"percentile_90", number(errors.percentile_90())},
                      {"worst", number(errors.worst())},
                      {"worst_row", errors.worst_row()}});
  }
  for (const LimitCheck& check : verification.checks)
    checks.push_back({{"what", check.what},
                      {"value", number(check.value)},
                      {check.at_least ? "at_least" : "at_most", check.limit},
                      {"passed", check.passed()}});
  return {{"precision", name(verification.precision)},
          {"expected", name(verification.expected)},
          {"vectors", vectors},
          {"layers", layers},
          {"checks", checks},
          {"passed", verification.passed()}};
}

}  // namespace tessera::cli
