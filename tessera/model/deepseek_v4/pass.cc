// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/pass.h"

#include <algorithm>

#include "tessera/base/check.h"

namespace tessera::model::deepseek_v4 {

Numerics Numerics::of(const ModelOptions& options) {
  const Precision precision = options.precision;
  return {.activation = precision == Precision::fp32 ? DType::f32 : DType::bf16,
          .official = precision == Precision::native || precision == Precision::fp8,
          .deterministic = options.deterministic,
          .quantised_cache = options.quantised_cache};
}

const RatioStep& StepValues::of_ratio(int64_t ratio) const {
  const auto found =
      std::ranges::find_if(ratios, [&](const RatioStep& step) { return step.ratio == ratio; });
  TESSERA_CHECK(found != ratios.end(), "no layer has ratio {}", ratio);
  return *found;
}

Value Pass::weight(const DeviceTensor& tensor) const {
  return tensor ? b.bound(tensor.desc, tensor.address) : Value{};
}

Value Pass::cached(DType dtype, Shape shape, int64_t offset) const {
  return b.bound({dtype, shape}, cache_address + static_cast<uint64_t>(offset));
}

Activation activations(Pass& p, const Shape& shape, Keep keep) {
  Activation y;
  if (!p.numerics.official || keep == Keep::kPlainToo) y.plain = p.value(shape);
  if (!p.numerics.official) return y;
  y.codes = p.b.temporary(DType::f8e4m3, shape);
  y.scales = p.b.temporary(DType::f8e8m0, {shape[0], (shape[1] + 127) / 128});
  return y;
}

Activation normalised(Pass& p, Value x, const DeviceTensor& weight, Keep keep) {
  const double eps = p.config.norm_eps;
  const Activation y = activations(p, p.b.shape(x), keep);
  if (!p.numerics.official) {
    p.b.call("rms_norm", {{"x", x}, {"w", p.weight(weight)}, {"y", y.plain}}, {{"eps", eps}});
    return y;
  }
  p.b.call("rms_norm_quant",
           {{"x", x}, {"w", p.weight(weight)}, {"q", y.codes}, {"s", y.scales}, {"z", y.plain}},
           {{"eps", eps}});
  return y;
}

Activation activation(Pass& p, Value x) {
  Activation y;
  y.plain = x;
  if (!p.numerics.official) return y;
  const Shape shape = p.b.shape(x);
  y.codes = p.b.temporary(DType::f8e4m3, shape);
  y.scales = p.b.temporary(DType::f8e8m0, {shape[0], (shape[1] + 127) / 128});
  p.b.call("act_quant", {{"x", x}, {"y", y.codes}, {"s", y.scales}});
  return y;
}

Activation part_of_block(Pass& p, Value x, comm::Communicator* block) {
  Activation y;
  y.plain = x;
  if (!p.numerics.official) return y;
  const Shape shape = p.b.shape(x);
  TESSERA_CHECK(shape[1] <= Config::kFp8Block, "{} columns of a block", shape[1]);
  const Value amax = p.b.temporary(DType::f32, {shape[0], 1});
  p.b.call("block_amax", {{"x", x}, {"m", amax}});
  p.b.all_reduce(amax, comm::Reduction::max, block);
  y.codes = p.b.temporary(DType::f8e4m3, shape);
  y.scales = p.b.temporary(DType::f8e8m0, {shape[0], 1});
  p.b.call("act_quant", {{"x", x}, {"y", y.codes}, {"s", y.scales}, {"amax", amax}});
  return y;
}

namespace {

Value product(Pass& p, const Activation& x, const LinearWeights& w, DType to) {
  if (!w.scale) {
    const Value y = p.b.temporary(to, {p.b.shape(x.plain)[0], w.w.desc.shape[0]});
    p.b.call("gemm_bf16", {{"x", x.plain}, {"w", p.weight(w.w)}, {"y", y}});
    return y;
  }
  const Value a = p.numerics.official ? x.codes : x.plain;
  const Value y = p.b.temporary(to, {p.b.shape(a)[0], w.w.desc.shape[0]});
  p.b.call("gemm_fp8", {{"a", a},
                        {"a_scale", p.numerics.official ? x.scales : Value{}},
                        {"w", p.weight(w.w)},
                        {"w_scale", p.weight(w.scale)},
                        {"y", y}});
  return y;
}

}  // namespace

Value linear(Pass& p, const Activation& x, const LinearWeights& w) {
  return product(p, x, w, p.numerics.activation);
}

Value partial_linear(Pass& p, const Activation& x, const LinearWeights& w) {
  return product(p, x, w, DType::f32);
}

Value rounded(Pass& p, Value x) {
  if (p.b.dtype(x) == p.numerics.activation) return x;
  const Value y = p.value(p.b.shape(x));
  p.b.call("cast", {{"x", x}, {"y", y}});
  return y;
}

bool shares_rows(Rank rank, int64_t rows) {
  return rank.experts == ExpertExchange::all_to_all && rank.count > 1 && rows >= rank.count;
}

Value own_rows(Pass& p, Value x) {
  return p.b.narrowed(x, 0, p.step.own.begin, p.step.own.count());
}

Value all_rows(Pass& p, Value own, std::string section) {
  if (!p.step.shares_rows()) return own;
  Shape shape = p.b.shape(own);
  shape[0] = p.step.rows;
  const Value all = p.b.temporary(p.b.dtype(own), shape);
  p.b.section(std::move(section));
  p.b.all_gather(own, all, p.ranks.world);
  return all;
}

Activation all_rows(Pass& p, const Activation& own) {
  if (!p.step.shares_rows()) return own;
  // Codes follow from the plain rows: nothing is sent twice.
  if (own.plain) return activation(p, all_rows(p, own.plain));
  return {.plain = {}, .codes = all_rows(p, own.codes), .scales = all_rows(p, own.scales)};
}

Value summed(Pass& p, Value part, std::string section) {
  p.b.section(std::move(section));
  if (p.step.shares_rows()) {
    const Value own = p.b.temporary(DType::f32, {p.step.own.count(), p.b.shape(part)[1]});
    p.b.reduce_scatter(part, own, p.ranks.world);
    return rounded(p, own);
  }
  p.b.all_reduce(part, comm::Reduction::sum, p.ranks.world);
  return rounded(p, part);
}

Value embedding(Pass& p, const DeviceTensor& table) {
  const Value x = p.value({p.step.rows, p.config.hidden_size});
  const Share own = vocabulary_share(p.config, p.ranks.rank);
  p.b.call("embedding", {{"ids", p.step.tokens}, {"table", p.weight(table)}, {"y", x}},
           {{"first_id", static_cast<double>(own.begin)}});
  // Rows that another rank has are zero here.
  if (p.ranks.several()) p.b.all_reduce(x, comm::Reduction::sum, p.ranks.world);
  return x;
}

Value linear_f32(Pass& p, Value x, const DeviceTensor& w) {
  const Value y = p.b.temporary(DType::f32, {p.b.shape(x)[0], w.desc.shape[0]});
  p.b.call("gemm_f32", {{"x", x}, {"w", p.weight(w)}, {"y", y}});
  return y;
}

}  // namespace tessera::model::deepseek_v4
