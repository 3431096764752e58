// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/frame/prepared.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

#include "tessera/ops/frame/specialisation.h"

namespace tessera::ops {
namespace {

constexpr size_t kMaxSlots = 128;  // of one launch; 12 views of rank 4 and 4 scalars need 100

bool is_empty(const KernelCall& call) {
  return std::find(call.grid.begin(), call.grid.end(), 0) != call.grid.end();
}

Result<runtime::Grid> grid_of(const KernelCall& call) {
  for (int64_t extent : call.grid)
    if (extent < 0 || extent > std::numeric_limits<uint32_t>::max())
      return invalid_argument(fmt::format("{}: a grid of {} x {} x {} programs", call.name,
                                          call.grid[0], call.grid[1], call.grid[2]));
  return runtime::Grid{static_cast<uint32_t>(call.grid[0]), static_cast<uint32_t>(call.grid[1]),
                       static_cast<uint32_t>(call.grid[2])};
}

}  // namespace

Plan make_plan(const Operator& op, const Problem& problem,
               const runtime::Capabilities& capabilities, const PlanOptions& options) {
  const runtime::Capabilities tuned = tuned_for(op, problem, options, capabilities);
  PlanBuilder builder(problem, tuned, options);
  op.plan(builder);
  Plan plan = std::move(builder).finish();
  std::erase_if(plan.calls, is_empty);
  return plan;
}

Result<std::vector<lang::Trace>> trace_plan(const Plan& plan) {
  std::vector<lang::Trace> traces;
  for (const KernelCall& call : plan.calls) {
    TESSERA_ASSIGN(lang::Trace trace, trace_call(call));
    traces.push_back(std::move(trace));
  }
  return traces;
}

Result<PreparedOp> PreparedOp::assemble(
    const Plan& plan, std::span<const lang::Trace> traces,
    std::span<const std::shared_ptr<runtime::Executable>> executables) {
  PreparedOp prepared;
  prepared.workspace_bytes_ = plan.workspace_bytes;
  for (size_t n = 0; n < plan.calls.size(); ++n) {
    const KernelCall& call = plan.calls[n];
    const lang::Trace& trace = traces[n];
    Launch launch;
    launch.executable = executables[n];
    TESSERA_ASSIGN(launch.grid, grid_of(call));
    TESSERA_CHECK(trace.slot_count <= kMaxSlots, "{} has {} argument slots", call.name,
                  trace.slot_count);
    launch.slots.resize(trace.slot_count);
    for (size_t i = 0; i < call.args.size(); ++i) {
      const Arg& arg = call.args[i];
      const lang::ViewDecl& decl = trace.views[i];
      launch.patches.push_back({static_cast<uint16_t>(decl.address_slot()),
                                static_cast<int16_t>(arg.tensor), arg.access != Access::kRead,
                                arg.byte_offset,
                                TensorDesc{arg.dtype, arg.shape, arg.strides}.bytes()});
      for (int d = 0; d < arg.shape.rank(); ++d) {
        launch.slots[decl.extent_slot(d)] = static_cast<uint64_t>(arg.shape[d]);
        if (d + 1 < arg.shape.rank())
          launch.slots[decl.stride_slot(d)] =
              static_cast<uint64_t>(arg.strides[static_cast<size_t>(d)]);
      }
    }
    for (size_t i = 0; i < call.scalars.size(); ++i)
      launch.slots[trace.scalars[i].slot] = call.scalars[i].bits;
    prepared.launches_.push_back(std::move(launch));
  }
  return prepared;
}

Result<PreparedOp> PreparedOp::prepare(kernels::KernelLibrary& library, const Operator& op,
                                       const Problem& problem, const PlanOptions& options) {
  const std::pair<const Operator*, Problem> use(&op, problem);
  TESSERA_ASSIGN(std::vector<PreparedOp> all, prepare_all(library, std::span(&use, 1), options));
  return std::move(all[0]);
}

Result<std::vector<PreparedOp>> PreparedOp::prepare_all(
    kernels::KernelLibrary& library, std::span<const std::pair<const Operator*, Problem>> uses,
    const PlanOptions& options) {
  const runtime::Capabilities& capabilities = library.device().info().capabilities;
  std::vector<Plan> plans;
  std::vector<lang::Trace> traces;
  for (const auto& [op, problem] : uses) {
    plans.push_back(make_plan(*op, problem, capabilities, options));
    auto traced = trace_plan(plans.back());
    if (!traced.ok())
      return std::move(traced)
          .context(fmt::format("planning {} {}", op->signature->name, problem.to_string()))
          .error();
    std::move(traced->begin(), traced->end(), std::back_inserter(traces));
  }
  TESSERA_ASSIGN(const auto executables, library.get_all(traces));
  std::vector<PreparedOp> all;
  size_t first = 0;
  for (const Plan& plan : plans) {
    const size_t count = plan.calls.size();
    TESSERA_ASSIGN(PreparedOp prepared, assemble(plan, std::span(traces).subspan(first, count),
                                                 std::span(executables).subspan(first, count)));
    all.push_back(std::move(prepared));
    first += count;
  }
  return all;
}

Result<void> PreparedOp::run(runtime::Stream& stream, std::span<const uint64_t> addresses,
                             uint64_t workspace) const {
  for (size_t kernel = 0; kernel < launches_.size(); ++kernel)
    TESSERA_TRY(launch(kernel, stream, addresses, workspace));
  return {};
}

Result<void> PreparedOp::launch(size_t kernel, runtime::Stream& stream,
                                std::span<const uint64_t> addresses, uint64_t workspace) const {
  const Launch& launch = launches_[kernel];
  std::array<uint64_t, kMaxSlots> slots;
  std::copy(launch.slots.begin(), launch.slots.end(), slots.begin());
  for (const Patch& patch : launch.patches) slots[patch.slot] = patch.address(addresses, workspace);
  return stream.launch(*launch.executable, launch.grid,
                       std::span(slots).first(launch.slots.size()));
}

std::vector<MemoryUse> PreparedOp::memory_of(size_t kernel, std::span<const uint64_t> addresses,
                                             uint64_t workspace) const {
  std::vector<MemoryUse> uses;
  for (const Patch& patch : launches_[kernel].patches) {
    const uint64_t first = patch.address(addresses, workspace);
    uses.push_back({first, first + patch.bytes, patch.written});
  }
  return uses;
}

}  // namespace tessera::ops
