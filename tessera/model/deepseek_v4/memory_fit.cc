// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/memory_fit.h"

#include <fmt/format.h>

namespace tessera::model::deepseek_v4 {
namespace {

std::string gib(uint64_t bytes) {
  return fmt::format("{:.2f} GiB", static_cast<double>(bytes) * 0x1p-30);
}

std::string parts_text(const MemoryPlan& plan) {
  std::string text;
  if (plan.copied > 0) text = fmt::format("weights made anew {}", gib(plan.copied));
  for (const MemoryPart& part : plan.working)
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", part.name, gib(part.bytes));
  return text;
}

}  // namespace

Result<> check_fit(const MemoryPlan& plan, const MemoryFit& fit) {
  constexpr double kDiskRate = 2e9;  // of a common SSD
  switch (fit_into(plan, fit.memory)) {
    case Fit::resident: return {};
    case Fit::no:
      return out_of_memory(fmt::format(
          "a context of {} needs {} besides the mapped weights ({}), and {} are free; {}",
          fit.context, gib(plan.anonymous()), parts_text(plan), gib(fit.memory),
          fit.largest_context ? fmt::format("--context {} fits", *fit.largest_context)
                              : "no context fits beside the weights"));
    case Fit::streamed:
      if (fit.may_stream) return {};
      return out_of_memory(fmt::format(
          "{} of weights and {} of working memory do not fit into the {} that are free; "
          "--stream-weights runs it all the same and reads {} a token, most of it from the disk: "
          "about {:.1f} s a token at 2 GB/s",
          gib(plan.mapped), gib(plan.anonymous()), gib(fit.memory), gib(plan.read_per_token),
          static_cast<double>(plan.read_per_token) / kDiskRate));
  }
  return {};
}

}  // namespace tessera::model::deepseek_v4
