// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/frame/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <set>

#include "tessera/ops/frame/extent.h"

namespace tessera::ops {
namespace {

constexpr int64_t kWorkspaceAlignment = 256;

std::vector<int64_t> dense_strides(const Shape& shape) {
  const auto strides = shape.dense_strides();
  return {strides.begin(), strides.begin() + shape.rank()};
}

/// What may be promised of a number that stays the same for every call of this specialisation.
lang::Divisor divisor_of(int64_t value) {
  if (value == 1) return 0;
  for (const int d : {128, 16, 8, 4, 2})
    if (value % d == 0) return static_cast<lang::Divisor>(d);
  return 1;
}

/// The stride of `dim` when dimensions after it change from call to call: it stays a multiple of
/// the elements in the static dimensions at the end.
lang::Divisor dynamic_stride_divisor(const Arg& arg, int dim) {
  int64_t fixed = 1;
  for (int i = arg.shape.rank() - 1; i > dim && !arg.dynamic[static_cast<size_t>(i)]; --i)
    fixed *= arg.shape[i];
  return fixed == 1 ? lang::Divisor{1} : divisor_of(fixed);
}

lang::ViewTraits traits_of(const Arg& arg) {
  lang::ViewTraits traits;
  traits.constant = arg.constant;
  traits.streamed = arg.streamed;
  const bool dense = arg.strides == dense_strides(arg.shape);
  bool dynamic_after = false;
  for (int i = arg.shape.rank() - 1; i >= 0; --i) {
    const bool dynamic = arg.dynamic[static_cast<size_t>(i)];
    traits.extent_divisors.push_back(dynamic ? lang::Divisor{1} : divisor_of(arg.shape[i]));
    if (i + 1 < arg.shape.rank())
      traits.stride_divisors.push_back(dense && dynamic_after
                                           ? dynamic_stride_divisor(arg, i)
                                           : divisor_of(arg.strides[static_cast<size_t>(i)]));
    dynamic_after = dynamic_after || dynamic;
  }
  std::reverse(traits.extent_divisors.begin(), traits.extent_divisors.end());
  std::reverse(traits.stride_divisors.begin(), traits.stride_divisors.end());
  return traits;
}

}  // namespace

Arg Arg::reshaped(Shape to) const {
  TESSERA_CHECK(to.numel() == shape.numel(), "{}: {} elements seen as {}", name, shape.to_string(),
                to.to_string());
  TESSERA_CHECK(strides == dense_strides(shape), "{}: only contiguous tensors can be reshaped",
                name);
  Arg arg = *this;
  arg.shape = to;
  arg.strides = dense_strides(to);
  arg.dynamic.assign(to.size(), false);
  if (std::find(dynamic.begin(), dynamic.end(), true) == dynamic.end()) return arg;
  // Static are the last dimensions as far as they lie inside the old static ones; the first never
  // is.
  int64_t fixed = 1, used = 1;
  for (int i = shape.rank() - 1; i >= 0 && !dynamic[static_cast<size_t>(i)]; --i) fixed *= shape[i];
  bool inside = true;
  for (int i = to.rank() - 1; i >= 0; --i) {
    used *= to[i];
    inside = inside && i > 0 && used != 0 && fixed % used == 0;
    arg.dynamic[static_cast<size_t>(i)] = !inside;
  }
  return arg;
}

Arg Arg::narrowed(int dim, int64_t start, int64_t extent) const {
  TESSERA_CHECK(
      dim >= 0 && dim < shape.rank() && start >= 0 && extent >= 0 && start + extent <= shape[dim],
      "{}: [{}, {}) of dimension {} of {}", name, start, start + extent, dim, shape.to_string());
  const int64_t elements = start * strides[static_cast<size_t>(dim)];
  TESSERA_CHECK(dtype != DType::f4e2m1 || elements % 2 == 0, "{}: element {} is half a byte", name,
                elements);
  Arg arg = *this;
  arg.byte_offset += size_in_bytes(dtype, elements);
  arg.shape[dim] = extent;
  return arg;
}

Arg Arg::with_access(Access to) const {
  Arg arg = *this;
  arg.access = to;
  return arg;
}

size_t NamedViews::find(std::string_view name) const {
  return static_cast<size_t>(std::ranges::find(names_, name) - names_.begin());
}

const View& NamedViews::operator[](std::string_view name) const {
  TESSERA_CHECK(has(name), "no view {}", name);
  return views_[find(name)];
}

PlanBuilder::PlanBuilder(const Problem& problem, const runtime::Capabilities& capabilities,
                         PlanOptions options)
    : problem_(problem), capabilities_(capabilities), options_(options) {}

int64_t PlanBuilder::dynamic_dim(std::string_view dim) const {
  TESSERA_CHECK(problem_.is_dynamic(dim), "{}: the class of {}, which is not in dynamic_dims",
                problem_.signature().name, dim);
  return problem_.dim(dim);
}

int64_t PlanBuilder::m_class(std::string_view dim) const {
  return ops::m_class(dynamic_dim(dim), options_);
}

int64_t PlanBuilder::product_class(std::string_view dim) const {
  return ops::product_class(dynamic_dim(dim), options_);
}

int64_t m_class(int64_t extent, const PlanOptions& options) {
  if (extent > 64) return 1024;
  if (options.deterministic) return 64;
  return extent <= 1 ? 1 : extent <= 8 ? 8 : 64;
}

int64_t product_class(int64_t rows, const PlanOptions& options) {
  const int64_t wide = m_class(rows, options);
  return wide == 64 && rows <= 16 ? 16 : wide;
}

Arg PlanBuilder::tensor(std::string_view name) const {
  const TensorDesc& desc = problem_.tensor(name);
  const TensorSpec& spec =
      problem_.signature().tensors[static_cast<size_t>(problem_.tensor_index(name))];
  Arg arg;
  arg.tensor = problem_.tensor_index(name);
  arg.name = spec.name;
  arg.dtype = desc.dtype;
  arg.shape = desc.shape;
  arg.strides = desc.strides.empty() ? dense_strides(desc.shape) : desc.strides;
  arg.access = spec.access;
  arg.constant = spec.constant;
  auto extents = parse_extents(spec.dims);
  TESSERA_CHECK(extents.ok(), "checked when the problem was made");
  for (const Extent& extent : *extents) arg.dynamic.push_back(problem_.is_dynamic(extent.name));
  return arg;
}

std::vector<Arg> PlanBuilder::tensors(std::initializer_list<std::string_view> names) const {
  std::vector<Arg> present;
  for (std::string_view name : names)
    if (has(name)) present.push_back(tensor(name));
  return present;
}

Arg PlanBuilder::workspace(std::string name, DType dtype, Shape shape, std::vector<bool> dynamic) {
  dynamic.resize(shape.size());
  Arg arg;
  arg.name = std::move(name);
  arg.dtype = dtype;
  arg.shape = shape;
  arg.strides = dense_strides(shape);
  arg.dynamic = std::move(dynamic);
  arg.access = Access::kReadWrite;
  arg.byte_offset = plan_.workspace_bytes;
  const int64_t bytes = size_in_bytes(dtype, shape.numel());
  plan_.workspace_bytes +=
      (bytes + kWorkspaceAlignment - 1) / kWorkspaceAlignment * kWorkspaceAlignment;
  return arg;
}

void PlanBuilder::add(
    std::string name, std::vector<int64_t> grid, std::vector<Arg> args,
    std::vector<ScalarBinding> scalars,
    std::function<void(KernelBuilder&, std::span<const View>, std::span<const Tile>)> body) {
  TESSERA_CHECK(grid.size() <= 3, "{}.{}: a grid of {} dimensions", problem_.signature().name, name,
                grid.size());
  KernelCall call;
  call.name = fmt::format("{}.{}", problem_.signature().name, name);
  call.grid = {1, 1, 1};
  std::copy(grid.begin(), grid.end(), call.grid.begin());
  call.args = std::move(args);
  call.scalars = std::move(scalars);
  call.body = std::move(body);
  plan_.calls.push_back(std::move(call));
}

Plan PlanBuilder::finish() && { return std::move(plan_); }

ScalarBinding scalar_f32(std::string name, float value) {
  return {std::move(name), DType::f32, std::bit_cast<uint32_t>(value)};
}

ScalarBinding scalar_i64(std::string name, int64_t value) {
  return {std::move(name), DType::i64, std::bit_cast<uint64_t>(value)};
}

Result<lang::Trace> trace_call(const KernelCall& call) {
  return lang::trace_kernel(call.name, [&](KernelBuilder& k) {
    std::set<std::string> taken;
    std::vector<View> views;
    for (const Arg& arg : call.args) {
      std::string name = arg.name;  // a tensor may be passed twice, seen in two shapes
      for (int n = 2; !taken.insert(name).second; ++n) name = fmt::format("{}_{}", arg.name, n);
      views.push_back(k.view(name, arg.dtype, arg.shape.rank(), arg.access, traits_of(arg)));
    }
    std::vector<Tile> scalars;
    for (const ScalarBinding& scalar : call.scalars)
      scalars.push_back(k.scalar(scalar.name, scalar.dtype));
    call.body(k, views, scalars);
  });
}

}  // namespace tessera::ops
