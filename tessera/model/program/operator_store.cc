// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/program/operator_store.h"

#include <fmt/format.h>

#include <atomic>
#include <optional>
#include <thread>

#include "tessera/base/cpu_topology.h"

namespace tessera::model {
namespace {

/// Equal for uses that the same prepared operator serves.
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

}  // namespace

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

  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t i; (i = next.fetch_add(1)) < missing.size();) {
      const OperatorUse& use = *missing[i].use;
      auto prepared = ops::PreparedOp::prepare(library_, *use.op, use.problem, options_);
      if (prepared.ok())
        *missing[i].slot = std::make_shared<const ops::PreparedOp>(std::move(*prepared));
      else
        missing[i].error =
            std::move(prepared)
                .context(fmt::format("{} {}", use.op->signature->name, use.problem.to_string()))
                .error();
    }
  };
  const auto threads_wanted =
      std::min(missing.size(), static_cast<size_t>(CpuTopology::get().usable_cores()));
  std::vector<std::thread> threads;
  for (size_t i = 1; i < threads_wanted; ++i) threads.emplace_back(work);
  work();
  for (std::thread& thread : threads) thread.join();

  std::vector<std::shared_ptr<const ops::PreparedOp>> all;
  for (const auto* slot : found) all.push_back(*slot);
  std::erase_if(prepared_, [](const auto& entry) { return entry.second == nullptr; });
  for (Missing& use : missing)
    if (use.error) return std::move(*use.error);
  return all;
}

std::vector<int64_t> OperatorStore::workspace_bytes(std::span<const OperatorUse> uses) const {
  const runtime::Capabilities& capabilities = library_.device().info().capabilities;
  std::map<std::string, int64_t> known;
  std::vector<int64_t> all;
  for (const OperatorUse& use : uses) {
    auto [entry, is_new] = known.try_emplace(key_of(use));
    if (is_new)
      entry->second = make_plan(*use.op, use.problem, capabilities, options_).workspace_bytes;
    all.push_back(entry->second);
  }
  return all;
}

}  // namespace tessera::model
