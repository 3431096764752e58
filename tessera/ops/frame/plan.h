// SPDX-License-Identifier: Apache-2.0
// An operator's plan: an ordered list of kernels, how their arguments bind to its tensors, and the
// workspace they need. Operators write it through PlanBuilder:
//
//   static void plan(PlanBuilder& b) {
//     Arg x = b.tensor("x"), y = b.tensor("y");
//     b.kernel("rows", {b.dim("T")}, {x, y}, [](KernelBuilder& k, View x, View y) {
//       Tile row = k.program_id(0);
//       ...
//     });
//   }
//
// Views reach the lambda in the order of the argument list, with name, dtype, access and
// divisibility already declared; extents and strides are run-time values. What the lambda captures
// is static: it becomes part of the trace and so of the specialisation. Never capture a dynamic
// dimension.
#pragma once

#include <array>
#include <functional>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tessera/lang/kernel_builder.h"
#include "tessera/ops/frame/problem.h"
#include "tessera/runtime/capabilities.h"

namespace tessera::ops {

using lang::KernelBuilder;
using lang::Offsets;
using lang::Operand;
using lang::Tile;
using lang::TileShape;
using lang::View;

/// A kernel argument: a tensor of the operator or a part of the workspace, possibly seen in another
/// shape.
struct Arg {
  int tensor = -1;  // index into the signature; -1: workspace
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  std::vector<int64_t> strides;  // elements, one a dimension
  std::vector<bool> dynamic;     // per dimension: gets no divisibility flag
  int64_t byte_offset = 0;       // from the tensor's or the workspace's base
  Access access = Access::kRead;
  bool constant = false;
  bool streamed = false;

  /// The same elements in another shape of equal size (contiguous tensors only).
  Arg reshaped(Shape shape) const;
  /// Fewer elements of one dimension: [start, start + extent).
  Arg narrowed(int dim, int64_t start, int64_t extent) const;
  Arg with_access(Access access) const;
};

struct ScalarBinding {
  std::string name;
  DType dtype;
  uint64_t bits;  // the slot's value
};

struct KernelCall {
  std::string name;  // "rms_norm.rows"
  std::array<int64_t, 3> grid;
  std::vector<Arg> args;  // views first, in order
  std::vector<ScalarBinding> scalars;
  std::function<void(KernelBuilder&, std::span<const View>, std::span<const Tile>)> body;
};

struct Plan {
  std::vector<KernelCall> calls;
  int64_t workspace_bytes = 0;
};

struct PlanOptions {
  /// A row's bits never depend on its neighbours: one order of sums for up to 64 rows.
  bool deterministic = false;
};

/// Upper bound of the class of an extent: 1, 8, 64 or 1024 (more). With `deterministic`, 64 serves
/// every extent up to 64.
int64_t m_class(int64_t extent, const PlanOptions& options);
/// The same for rows of a product, with a class of 16 as well: a product of 16 rows sums each in
/// the order of one of 64, so that `deterministic` may choose between them.
int64_t product_class(int64_t rows, const PlanOptions& options);

/// The views of a kernel by the names of its arguments, for operators with optional tensors: the
/// argument list holds those that are present.
class NamedViews {
 public:
  NamedViews(std::span<const std::string> names, std::span<const View> views)
      : names_(names), views_(views) {}
  bool has(std::string_view name) const { return find(name) < names_.size(); }
  const View& operator[](std::string_view name) const;

 private:
  size_t find(std::string_view name) const;
  std::span<const std::string> names_;
  std::span<const View> views_;
};

class PlanBuilder {
 public:
  PlanBuilder(const Problem& problem, const runtime::Capabilities& capabilities,
              PlanOptions options = {});

  const Problem& problem() const { return problem_; }
  const runtime::Capabilities& caps() const { return capabilities_; }
  int64_t dim(std::string_view name) const { return problem_.dim(name); }
  DType dtype(std::string_view tensor) const { return problem_.dtype(tensor); }
  double attribute(std::string_view name) const { return problem_.attribute(name); }
  bool has(std::string_view tensor) const { return problem_.has(tensor); }
  /// The classes of a dynamic dimension.
  int64_t m_class(std::string_view dim) const;
  int64_t product_class(std::string_view dim) const;

  Arg tensor(std::string_view name) const;
  /// Scratch memory that lives from this call to the end of the plan; 256-byte aligned.
  Arg workspace(std::string name, DType dtype, Shape shape, std::vector<bool> dynamic = {});

  /// Adds a kernel. `body` takes (KernelBuilder&, View for each arg...).
  template <class Body>
  void kernel(std::string name, std::vector<int64_t> grid, std::vector<Arg> args, Body body) {
    kernel(std::move(name), std::move(grid), std::move(args), {}, std::move(body));
  }
  /// The same with run-time scalars: `body` takes (KernelBuilder&, View..., Tile for each
  /// scalar...).
  template <class Body>
  void kernel(std::string name, std::vector<int64_t> grid, std::vector<Arg> args,
              std::vector<ScalarBinding> scalars, Body body) {
    add(std::move(name), std::move(grid), std::move(args), std::move(scalars),
        [body](KernelBuilder& k, std::span<const View> v, std::span<const Tile> s) {
          invoke(body, k, v, s);
        });
  }

  /// The same with views by name: `body` takes (KernelBuilder&, const NamedViews&).
  template <class Body>
  void kernel_named(std::string name, std::vector<int64_t> grid, std::vector<Arg> args, Body body) {
    std::vector<std::string> names;
    for (const Arg& arg : args) names.push_back(arg.name);
    add(std::move(name), std::move(grid), std::move(args), {},
        [body, names](KernelBuilder& k, std::span<const View> v, std::span<const Tile>) {
          body(k, NamedViews(names, v));
        });
  }
  /// The tensors of these names that are present.
  std::vector<Arg> tensors(std::initializer_list<std::string_view> names) const;

  Plan finish() &&;

 private:
  int64_t dynamic_dim(std::string_view dim) const;
  // Calls body(k, v[0], .., v[n-1], s[0], .., s[m-1]) for the arity the body has.
  template <class Body>
  static void invoke(const Body& body, KernelBuilder& k, std::span<const View> v,
                     std::span<const Tile> s) {
    dispatch(body, k, v, s, std::make_index_sequence<12>{});
  }
  template <class Body, size_t... N>
  static void dispatch(const Body& body, KernelBuilder& k, std::span<const View> v,
                       std::span<const Tile> s, std::index_sequence<N...>);
  void add(std::string name, std::vector<int64_t> grid, std::vector<Arg> args,
           std::vector<ScalarBinding> scalars,
           std::function<void(KernelBuilder&, std::span<const View>, std::span<const Tile>)> body);

  const Problem& problem_;
  const runtime::Capabilities& capabilities_;
  PlanOptions options_;
  Plan plan_;
};

ScalarBinding scalar_f32(std::string name, float value);
ScalarBinding scalar_i64(std::string name, int64_t value);

/// Traces one call of a plan.
Result<lang::Trace> trace_call(const KernelCall& call);

}  // namespace tessera::ops

#include "tessera/ops/frame/plan_inl.h"
