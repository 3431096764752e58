// SPDX-License-Identifier: Apache-2.0
#include "tessera/ops/frame/problem.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "tessera/ops/frame/extent.h"

namespace tessera::ops {
namespace {

using Dims = std::map<std::string, int64_t, std::less<>>;
using Attributes = std::map<std::string, double, std::less<>>;

std::string shape_text(const TensorDesc& desc) {
  return fmt::format("{}[{}]", name(desc.dtype), fmt::join(desc.shape.extents(), ", "));
}

/// The parsed signature and the mistakes found so far; all are reported together.
struct Checker {
  const Signature& signature;
  std::vector<std::vector<Extent>> extents;  // by tensor
  std::vector<std::string> mistakes;

  explicit Checker(const Signature& s) : signature(s) {
    for (const TensorSpec& spec : s.tensors) {
      auto parsed = parse_extents(spec.dims);
      if (!parsed.ok()) {
        mistakes.push_back(fmt::format("{}: {}", spec.name, parsed.error().message));
        extents.emplace_back();
        continue;
      }
      if (parsed->size() > Shape::kMaxRank) {
        mistakes.push_back(fmt::format("{} has {} dimensions, at most {} are allowed", spec.name,
                                       parsed->size(), Shape::kMaxRank));
        parsed->resize(Shape::kMaxRank);
      }
      extents.push_back(std::move(*parsed));
    }
  }

  bool names_dimension(std::string_view dim) const {
    for (const auto& tensor : extents)
      for (const Extent& extent : tensor)
        if (extent.name == dim) return true;
    return false;
  }

  std::string dtype_list(const TensorSpec& spec) const {
    std::vector<std::string_view> names;
    for (DType dtype : spec.dtypes) names.push_back(name(dtype));
    return fmt::format("{}", fmt::join(names, ", "));
  }

  void check_dtype(const TensorSpec& spec, DType dtype) {
    if (std::find(spec.dtypes.begin(), spec.dtypes.end(), dtype) == spec.dtypes.end())
      mistakes.push_back(
          fmt::format("{} is {}, allowed: {}", spec.name, name(dtype), dtype_list(spec)));
  }

  Attributes check_attributes(const std::map<std::string, double>& given) {
    Attributes all;
    std::vector<std::string_view> known;
    for (const AttributeSpec& spec : signature.attributes) {
      all[spec.name] = spec.default_value;
      known.push_back(spec.name);
    }
    for (const auto& [key, value] : given) {
      if (!all.contains(key))
        mistakes.push_back(
            fmt::format("no attribute {}; there are: {}", key,
                        known.empty() ? "none" : fmt::format("{}", fmt::join(known, ", "))));
      else
        all[key] = value;
    }
    return all;
  }

  Error error() const {
    return invalid_argument(fmt::format("{}: {}", signature.name, fmt::join(mistakes, "; ")));
  }
};

void check_strides(Checker& checker, const TensorSpec& spec, const TensorDesc& desc) {
  if (desc.strides.empty()) return;
  if (static_cast<int>(desc.strides.size()) != desc.shape.rank()) {
    checker.mistakes.push_back(fmt::format("{} has {} strides for {} dimensions", spec.name,
                                           desc.strides.size(), desc.shape.rank()));
    return;
  }
  if (desc.strides.back() != 1)
    checker.mistakes.push_back(
        fmt::format("the last stride of {} is {}, it must be 1", spec.name, desc.strides.back()));
  for (int i = 0; i + 1 < desc.shape.rank(); ++i) {
    const int64_t stride = desc.strides[static_cast<size_t>(i)];
    if (stride < 0 || (desc.dtype == DType::f4e2m1 && stride % 2 != 0))
      checker.mistakes.push_back(fmt::format("stride {} of {} is {}{}", i, spec.name, stride,
                                             stride < 0 ? "" : "; strides of f4e2m1 are even"));
  }
}

}  // namespace

int64_t TensorDesc::stride(int dim) const {
  return strides.empty() ? shape.dense_strides()[dim] : strides[static_cast<size_t>(dim)];
}

size_t TensorDesc::bytes() const {
  if (shape.numel() == 0) return 0;
  int64_t last = 0;
  for (int i = 0; i < shape.rank(); ++i) last += (shape[i] - 1) * stride(i);
  return static_cast<size_t>(size_in_bytes(dtype, last + 1));
}

Result<Problem> Problem::from_dims(const Signature& signature, std::map<std::string, int64_t> dims,
                                   std::map<std::string, DType> dtypes,
                                   std::map<std::string, double> attributes,
                                   const std::map<std::string, std::vector<int64_t>>& strides) {
  Checker checker(signature);
  Problem problem;
  problem.signature_ = &signature;
  problem.attributes_ = checker.check_attributes(attributes);
  for (const auto& [key, value] : dims) {
    if (!checker.names_dimension(key))
      checker.mistakes.push_back(fmt::format("no tensor has a dimension {}", key));
    else if (value < 0)
      checker.mistakes.push_back(fmt::format("{} is {}", key, value));
    else
      problem.dims_[key] = value;
  }
  const auto check_name = [&](const std::string& key) {
    if (std::none_of(signature.tensors.begin(), signature.tensors.end(),
                     [&](const TensorSpec& spec) { return spec.name == key; }))
      checker.mistakes.push_back(fmt::format("no tensor {}", key));
  };
  for (const auto& [key, dtype] : dtypes) check_name(key);
  for (const auto& [key, given] : strides) check_name(key);

  for (size_t i = 0; i < signature.tensors.size(); ++i) {
    const TensorSpec& spec = signature.tensors[i];
    const auto given = dtypes.find(spec.name);
    if (spec.optional && given == dtypes.end()) {
      problem.tensors_.emplace_back();
      continue;
    }
    TensorDesc desc;
    if (given != dtypes.end()) {
      desc.dtype = given->second;
      checker.check_dtype(spec, desc.dtype);
    } else if (spec.dtypes.size() == 1) {
      desc.dtype = spec.dtypes[0];
    } else {
      checker.mistakes.push_back(
          fmt::format("{} may be {}: say which", spec.name, checker.dtype_list(spec)));
    }
    std::vector<int64_t> shape;
    for (const Extent& extent : checker.extents[i]) {
      const auto bound = problem.dims_.find(extent.name);
      if (!extent.name.empty() && bound == problem.dims_.end()) {
        if (!dims.contains(extent.name))
          checker.mistakes.push_back(fmt::format("{} of {} has no value", extent.name, spec.name));
        shape.push_back(0);
        continue;
      }
      shape.push_back(extent.evaluate(extent.name.empty() ? 0 : bound->second));
    }
    desc.shape = Shape(std::span<const int64_t>(shape));
    if (const auto given = strides.find(spec.name); given != strides.end()) {
      desc.strides = given->second;
      check_strides(checker, spec, desc);
    }
    problem.tensors_.push_back(std::move(desc));
  }
  if (!checker.mistakes.empty()) return checker.error();
  return problem;
}

namespace {

struct Binding {
  int64_t value;
  std::string_view from;
};

/// "[D, 128] with D = 4 (from x)"
std::string expectation(const std::vector<Extent>& extents,
                        const std::map<std::string_view, Binding>& bindings) {
  std::vector<std::string_view> texts;
  std::string with;
  for (const Extent& extent : extents) {
    texts.push_back(extent.text);
    const auto bound = bindings.find(extent.name);
    if (extent.name.empty() || bound == bindings.end()) continue;
    with += fmt::format("{} {} = {} (from {})", with.empty() ? " with" : ",", extent.name,
                        bound->second.value, bound->second.from);
  }
  return fmt::format("[{}]{}", fmt::join(texts, ", "), with);
}

}  // namespace

Result<Problem> Problem::from_tensors(const Signature& signature,
                                      std::vector<std::optional<TensorDesc>> tensors,
                                      std::map<std::string, double> attributes) {
  Checker checker(signature);
  Problem problem;
  problem.signature_ = &signature;
  problem.attributes_ = checker.check_attributes(attributes);
  if (tensors.size() != signature.tensors.size()) {
    checker.mistakes.push_back(fmt::format("{} tensors given, the signature has {}", tensors.size(),
                                           signature.tensors.size()));
    return checker.error();
  }
  std::map<std::string_view, Binding> bindings;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const auto& extents = checker.extents[i];
    if (!tensors[i] || tensors[i]->shape.rank() != static_cast<int>(extents.size())) continue;
    for (size_t d = 0; d < extents.size(); ++d)
      if (extents[d].plain())
        bindings.try_emplace(extents[d].name, Binding{tensors[i]->shape[static_cast<int>(d)],
                                                      signature.tensors[i].name});
  }
  for (size_t i = 0; i < tensors.size(); ++i) {
    const TensorSpec& spec = signature.tensors[i];
    if (!tensors[i]) {
      if (!spec.optional) checker.mistakes.push_back(fmt::format("{} is missing", spec.name));
      continue;
    }
    const TensorDesc& desc = *tensors[i];
    checker.check_dtype(spec, desc.dtype);
    check_strides(checker, spec, desc);
    const auto& extents = checker.extents[i];
    bool fits = desc.shape.rank() == static_cast<int>(extents.size());
    for (size_t d = 0; fits && d < extents.size(); ++d) {
      const auto bound = bindings.find(extents[d].name);
      if (!extents[d].name.empty() && bound == bindings.end()) {
        checker.mistakes.push_back(fmt::format("no tensor gives the value of {}", extents[d].name));
        continue;
      }
      const int64_t value = extents[d].name.empty() ? 0 : bound->second.value;
      fits = desc.shape[static_cast<int>(d)] == extents[d].evaluate(value);
    }
    if (!fits)
      checker.mistakes.push_back(fmt::format("{} is {}, expected {}", spec.name, shape_text(desc),
                                             expectation(extents, bindings)));
  }
  if (!checker.mistakes.empty()) return checker.error();
  for (const auto& [key, binding] : bindings) problem.dims_[std::string(key)] = binding.value;
  problem.tensors_ = std::move(tensors);
  return problem;
}

int64_t Problem::dim(std::string_view name) const {
  const auto found = dims_.find(name);
  TESSERA_CHECK(found != dims_.end(), "{}: no dimension {}", signature_->name, name);
  return found->second;
}

double Problem::attribute(std::string_view name) const {
  const auto found = attributes_.find(name);
  TESSERA_CHECK(found != attributes_.end(), "{}: no attribute {}", signature_->name, name);
  return found->second;
}

bool Problem::has(std::string_view tensor) const {
  for (size_t i = 0; i < signature_->tensors.size(); ++i)
    if (signature_->tensors[i].name == tensor) return tensors_[i].has_value();
  return false;
}

const TensorDesc& Problem::tensor(std::string_view name) const {
  const auto& desc = tensors_[static_cast<size_t>(tensor_index(name))];
  TESSERA_CHECK(desc.has_value(), "{}: tensor {} was left out; ask has(\"{}\") first",
                signature_->name, name, name);
  return *desc;
}

int Problem::tensor_index(std::string_view name) const {
  for (size_t i = 0; i < signature_->tensors.size(); ++i)
    if (signature_->tensors[i].name == name) return static_cast<int>(i);
  TESSERA_UNREACHABLE("{}: no tensor {}", signature_->name, name);
}

bool Problem::is_dynamic(std::string_view dim) const {
  const auto& dynamic = signature_->dynamic_dims;
  return std::find(dynamic.begin(), dynamic.end(), dim) != dynamic.end();
}

std::string Problem::to_string() const {
  return to_string(
      [](std::string_view dim, int64_t extent) { return fmt::format("{}={}", dim, extent); });
}

std::string Problem::to_string(
    const std::function<std::string(std::string_view, int64_t)>& text_of) const {
  std::vector<std::string> words;
  for (const auto& [key, value] : dims_) words.push_back(text_of(key, value));
  for (size_t i = 0; i < tensors_.size(); ++i) {
    const TensorSpec& spec = signature_->tensors[i];
    if (tensors_[i] && (spec.dtypes.size() > 1 || spec.optional))
      words.push_back(fmt::format("{}={}", spec.name, name(tensors_[i]->dtype)));
  }
  for (const AttributeSpec& spec : signature_->attributes)
    if (const double value = attribute(spec.name); value != spec.default_value)
      words.push_back(fmt::format("{}={}", spec.name, value));
  return fmt::format("{}", fmt::join(words, " "));
}

}  // namespace tessera::ops
