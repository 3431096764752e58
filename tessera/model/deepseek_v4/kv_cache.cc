// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/kv_cache.h"

#include <fmt/format.h>

#include <bit>

#include "tessera/ops/attention/kernels/quantised_row.h"

namespace tessera::model::deepseek_v4 {

Value kv_rows(Pass& p, const LayerCache& cache) {
  const int64_t rows = p.caches.options.sequences * p.caches.rows(cache.ratio);
  if (p.numerics.quantised_cache)
    return p.cached(DType::u8, {rows, p.caches.options.row_bytes}, cache.kv_offset);
  return p.cached(p.numerics.activation, {rows, p.config.head_dim}, cache.kv_offset);
}

void insert_rows(Pass& p, Value x, const DeviceTensor& norm, const RopeTable& rope, Value slots,
                 Value rows) {
  const ProgramBuilder::Operand inputs[] = {{"x", x},          {"w", p.weight(norm)},
                                            {"cos", rope.cos}, {"sin", rope.sin},
                                            {"slots", slots},  {"cache", rows}};
  const double eps = p.config.norm_eps;
  if (p.numerics.quantised_cache)
    p.b.call("kv_quant_insert", inputs, {{"eps", eps}});
  else
    p.b.call("kv_norm_rope_insert", inputs,
             {{"eps", eps}, {"simulate", p.numerics.official ? 1.0 : 0.0}});
}

Result<int64_t> kv_row_bytes(const Config& config, const Numerics& numerics) {
  if (!numerics.quantised_cache) return size_in_bytes(numerics.activation, config.head_dim);
  if (!numerics.official)
    return invalid_argument("a quantised cache holds keys rounded to e4m3: native and fp8 only");
  if (config.head_dim < 128 || !std::has_single_bit(static_cast<uint64_t>(config.head_dim)))
    return invalid_argument(
        fmt::format("a quantised cache for heads of {}: a power of two from 128 on is needed",
                    config.head_dim));
  return ops::QuantisedRow{config.head_dim}.bytes();
}

}  // namespace tessera::model::deepseek_v4
