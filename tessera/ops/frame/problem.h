// SPDX-License-Identifier: Apache-2.0
// One use of an operator: the dtypes and shapes of its tensors and its attribute values, checked
// against the signature.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/base/result.h"
#include "tessera/base/shape.h"
#include "tessera/ops/frame/signature.h"

namespace tessera::ops {

struct TensorDesc {
  DType dtype = DType::f32;
  Shape shape;
  std::vector<int64_t> strides =
      {};  // elements, one a dimension; empty: contiguous; the last must be 1

  int64_t stride(int dim) const;
  size_t bytes() const;  // span from first to last element
};

class Problem {
 public:
  /// From dimension values and dtypes, as cases are written: dims {"T", 3}, dtypes {"x", bf16}. A
  /// tensor without an entry in `dtypes` has its only allowed dtype; an optional tensor is present
  /// only if named. Tensors without `strides` are contiguous.
  static Result<Problem> from_dims(const Signature& signature, std::map<std::string, int64_t> dims,
                                   std::map<std::string, DType> dtypes = {},
                                   std::map<std::string, double> attributes = {},
                                   const std::map<std::string, std::vector<int64_t>>& strides = {});
  /// From actual tensors, in signature order; nullopt for an optional one left out. The error lists
  /// every mismatch: "rms_norm: w is f32[3], expected [D] with D = 4 (from x)".
  static Result<Problem> from_tensors(const Signature& signature,
                                      std::vector<std::optional<TensorDesc>> tensors,
                                      std::map<std::string, double> attributes = {});

  const Signature& signature() const { return *signature_; }
  int64_t dim(std::string_view name) const;
  double attribute(std::string_view name) const;
  bool flag(std::string_view name) const { return attribute(name) != 0; }
  /// The signature has this tensor and it was not left out. Code shared by operators may ask for
  /// tensors that some of them lack.
  bool has(std::string_view tensor) const;
  const TensorDesc& tensor(std::string_view name) const;
  DType dtype(std::string_view tensor_name) const { return tensor(tensor_name).dtype; }
  int tensor_index(std::string_view name) const;
  const std::vector<std::optional<TensorDesc>>& tensors() const { return tensors_; }
  bool is_dynamic(std::string_view dim) const;
  std::string to_string() const;  // "T=3 D=4096 x=bf16 w=f32"
  /// The same with dimensions as `text_of` writes them.
  std::string to_string(
      const std::function<std::string(std::string_view dim, int64_t extent)>& text_of) const;

 private:
  const Signature* signature_ = nullptr;
  std::vector<std::optional<TensorDesc>> tensors_;
  std::map<std::string, int64_t, std::less<>> dims_;
  std::map<std::string, double, std::less<>> attributes_;
};

}  // namespace tessera::ops
