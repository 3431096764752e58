// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/program/operator_use.h"

#include <fmt/format.h>

#include <map>
#include <optional>
#include <unordered_set>

#include "tessera/base/parallel.h"

namespace tessera::model {

std::string key_of(const OperatorUse& use) {
  std::string key = use.op->signature->name;
  for (const auto& tensor : use.problem.tensors()) {
    key += '|';
    if (!tensor) continue;
    key += name(tensor->dtype);
    for (int d = 0; d < tensor->shape.rank(); ++d)
      fmt::format_to(std::back_inserter(key), ",{}:{}", tensor->shape[d], tensor->stride(d));
  }
  for (const ops::AttributeSpec& attribute : use.op->signature->attributes)
    fmt::format_to(std::back_inserter(key), "|{}", use.problem.attribute(attribute.name));
  return key;
}

std::vector<int64_t> workspace_bytes(std::span<const OperatorUse> uses, const Planning& planning) {
  std::map<std::string, int64_t> known;
  std::vector<int64_t> all;
  for (const OperatorUse& use : uses) {
    auto [entry, is_new] = known.try_emplace(key_of(use));
    if (is_new)
      entry->second =
          make_plan(*use.op, use.problem, planning.capabilities, planning.options).workspace_bytes;
    all.push_back(entry->second);
  }
  return all;
}

Result<std::vector<lang::Trace>> kernels_of(std::span<const OperatorUse> uses,
                                            const Planning& planning) {
  std::vector<std::optional<Result<std::vector<lang::Trace>>>> traced(uses.size());
  for_each_parallel(uses.size(), 0, [&](size_t i) {
    const OperatorUse& use = uses[i];
    traced[i] =
        ops::trace_plan(make_plan(*use.op, use.problem, planning.capabilities, planning.options))
            .context(fmt::format("{} {}", use.op->signature->name, use.problem.to_string()));
  });
  std::vector<lang::Trace> kernels;
  std::unordered_set<Hash128> known;
  for (auto& traces : traced) {
    if (!traces->ok()) return std::move(*traces).error();
    for (lang::Trace& trace : **traces)
      if (known.insert(trace.hash()).second) kernels.push_back(std::move(trace));
  }
  return kernels;
}

}  // namespace tessera::model
