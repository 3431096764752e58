// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/hyper_connection.h"

namespace tessera::model::deepseek_v4 {

Mix mix(Pass& p, const HyperWeights& w, Value h) {
  const int64_t rows = p.b.shape(h)[0], copies = p.b.shape(h)[1], width = p.b.shape(h)[2];
  const Value m = p.b.temporary(DType::f32, {rows, w.fn.desc.shape[0]});
  p.b.call("hc_mix", {{"x", h}, {"fn", p.weight(w.fn)}, {"m", m}}, {{"eps", p.config.norm_eps}});
  const Value pre = p.b.temporary(DType::f32, {rows, copies});
  Mix mix{.x = p.value({rows, width}),
          .post = p.b.temporary(DType::f32, {rows, copies}),
          .comb = p.b.temporary(DType::f32, {rows, copies, copies})};
  p.b.call("hc_split_sinkhorn",
           {{"m", m},
            {"scale", p.weight(w.scale)},
            {"base", p.weight(w.base)},
            {"pre", pre},
            {"post", mix.post},
            {"comb", mix.comb}},
           {{"eps", p.config.hc_eps},
            {"iterations", static_cast<double>(p.config.sinkhorn_iterations)}});
  p.b.call("hc_pre_combine", {{"x", h}, {"pre", pre}, {"y", mix.x}});
  return mix;
}

Value unmix(Pass& p, const Mix& mix, Value f, Value h, Value out) {
  const Value y = out ? out : p.value(p.b.shape(h));
  p.b.call("hc_post_combine",
           {{"f", f}, {"res", h}, {"post", mix.post}, {"comb", mix.comb}, {"y", y}});
  return y;
}

Value collapse(Pass& p, const HyperWeights& w, Value h) {
  const Value y = p.value({p.b.shape(h)[0], p.b.shape(h)[2]});
  p.b.call("hc_head",
           {{"x", h},
            {"fn", p.weight(w.fn)},
            {"scale", p.weight(w.scale)},
            {"base", p.weight(w.base)},
            {"y", y}},
           {{"eps", p.config.norm_eps}, {"eps_gate", p.config.hc_eps}});
  return y;
}

}  // namespace tessera::model::deepseek_v4
