// SPDX-License-Identifier: Apache-2.0
// What an operator takes: tensors with symbolic shapes, and numbers.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/dtype.h"
#include "tessera/lang/trace.h"

namespace tessera::ops {

using lang::Access;

struct TensorSpec {
  std::string name;
  Access access;
  /// Comma-separated extents, each a dimension name, a number, or an expression NAME*INT, NAME/INT
  /// (rounded up): "T,D", "N/128,K/128", "T,8,4096". Names bind at their first plain appearance.
  std::string dims;
  /// Dtypes it may have. Every combination the operator serves is listed in its cases().
  std::vector<DType> dtypes;
  bool constant = false;  // a weight: see ViewDecl::constant
  bool optional = false;  // may be left out; plan() asks has("name")
};

inline TensorSpec in(std::string name, std::string dims, std::vector<DType> dtypes) {
  return {std::move(name), Access::kRead, std::move(dims), std::move(dtypes)};
}
inline TensorSpec weight(std::string name, std::string dims, std::vector<DType> dtypes) {
  return {std::move(name), Access::kRead, std::move(dims), std::move(dtypes), /*constant=*/true};
}
inline TensorSpec out(std::string name, std::string dims, std::vector<DType> dtypes) {
  return {std::move(name), Access::kWrite, std::move(dims), std::move(dtypes)};
}
inline TensorSpec inout(std::string name, std::string dims, std::vector<DType> dtypes) {
  return {std::move(name), Access::kReadWrite, std::move(dims), std::move(dtypes)};
}
inline TensorSpec optional(TensorSpec spec) {
  spec.optional = true;
  return spec;
}

/// A number fixed when the operator is planned (eps, a limit, a flag); traced as a constant.
struct AttributeSpec {
  std::string name;
  double default_value;
};

struct Signature {
  std::string name;     // "rms_norm": unique, snake_case, a name of the field
  std::string family;   // folder: "norm"
  std::string rows;     // checklist rows it covers: "4" or "44,45"
  std::string summary;  // one line
  std::string formula;  // plain text mathematics with shapes
  std::string source;   // paper equation or official file:line
  std::vector<TensorSpec> tensors;
  std::vector<AttributeSpec> attributes = {};
  /// Dimensions that change from call to call (tokens, keys): kernels are specialised for their
  /// class (1, 2-8, 9-64, more) only. The others get divisibility flags.
  std::vector<std::string> dynamic_dims = {"T"};
};

}  // namespace tessera::ops
