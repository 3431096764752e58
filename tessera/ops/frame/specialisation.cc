// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/frame/specialisation.h"

#include <fmt/format.h>

#include "tessera/ops/frame/operator.h"
#include "tessera/runtime/tuning.h"

namespace tessera::ops {

std::string specialisation(const Operator& op, const Problem& problem, const PlanOptions& options) {
  return fmt::format(
      "{} {}", op.signature->name, problem.to_string([&](std::string_view dim, int64_t extent) {
        if (!problem.is_dynamic(dim)) return fmt::format("{}={}", dim, extent);
        // Hints may change the order of sums: where rows must not depend on their neighbours, one
        // set serves all of them.
        const int64_t limit =
            options.deterministic ? m_class(extent, options) : product_class(extent, options);
        return limit > 64 ? fmt::format("{}>64", dim) : fmt::format("{}<={}", dim, limit);
      }));
}

runtime::Capabilities tuned_for(const Operator& op, const Problem& problem,
                                const PlanOptions& options,
                                const runtime::Capabilities& capabilities) {
  if (capabilities.tuning == nullptr) return capabilities;
  return capabilities.tuning->apply(specialisation(op, problem, options), capabilities);
}

}  // namespace tessera::ops
