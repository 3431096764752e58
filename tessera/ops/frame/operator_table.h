// SPDX-License-Identifier: Apache-2.0
// One line of the generated table of operator headers.
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "tessera/ops/frame/operator.h"

namespace tessera::ops {

struct OperatorHeader {
  std::string_view path;         // "tessera/ops/norm/rms_norm.h"
  std::string_view struct_name;  // "RmsNorm"
  /// Empty: the header defines no such struct (code shared by the operators of a family).
  std::optional<Operator> (*make)();
};

namespace internal {
template <class Op, class = void>
struct IsDefined : std::false_type {};
template <class Op>
struct IsDefined<Op, std::void_t<decltype(sizeof(Op))>> : std::true_type {};
}  // namespace internal

template <class Op>
std::optional<Operator> make_operator_if_defined() {
  if constexpr (internal::IsDefined<Op>::value)
    return make_operator<Op>();
  else
    return std::nullopt;
}

/// Every header in the folders of tessera/ops, sorted; generated.
std::span<const OperatorHeader> operator_headers();

}  // namespace tessera::ops
