// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/program/operator_store.h"

#include <fmt/format.h>

#include <optional>

#include "tessera/base/parallel.h"

namespace tessera::model {
Result<std::vector<std::shared_ptr<const ops::PreparedOp>>> OperatorStore::get(
    std::span<const OperatorUse> uses) {
  struct Missing {
    const OperatorUse* use;
    std::shared_ptr<const ops::PreparedOp>* slot;
    std::optional<Error> error = {};
  };
  std::vector<Missing> missing;
  std::vector<const std::shared_ptr<const ops::PreparedOp>*> found;
  for (const OperatorUse& use : uses) {
    auto [entry, is_new] = prepared_.try_emplace(key_of(use));
    found.push_back(&entry->second);
    if (is_new) missing.push_back({&use, &entry->second});
  }

  for_each_parallel(missing.size(), 0, [&](size_t i) {
    const OperatorUse& use = *missing[i].use;
    auto prepared = ops::PreparedOp::prepare(library_, *use.op, use.problem, options_);
    if (prepared.ok())
      *missing[i].slot = std::make_shared<const ops::PreparedOp>(std::move(*prepared));
    else
      missing[i].error =
          std::move(prepared)
              .context(fmt::format("{} {}", use.op->signature->name, use.problem.to_string()))
              .error();
  });

  std::vector<std::shared_ptr<const ops::PreparedOp>> all;
  for (const auto* slot : found) all.push_back(*slot);
  std::erase_if(prepared_, [](const auto& entry) { return entry.second == nullptr; });
  for (Missing& use : missing)
    if (use.error) return std::move(*use.error);
  return all;
}

}  // namespace tessera::model
