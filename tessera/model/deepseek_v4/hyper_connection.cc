// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/hyper_connection.h"

namespace tessera::model::deepseek_v4 {

Mix mix(Pass& p, const HyperWeights& w, const DeviceTensor& norm, const Stream& stream, Keep keep) {
  const Shape shape = p.b.shape(stream.h);
  const int64_t rows = shape[0], copies = shape[1], width = shape[2];
  const Value h = stream.f ? p.value(shape) : stream.h;
  const Mix mix{.x = activations(p, {rows, width}, keep),
                .stream = {.h = h,
                           .f = {},
                           .post = p.b.temporary(DType::f32, {rows, copies}),
                           .comb = p.b.temporary(DType::f32, {rows, copies, copies})}};
  p.b.call("hc_pre_norm",
           {{"x", stream.h},
            {"fn", p.weight(w.fn)},
            {"scale", p.weight(w.scale)},
            {"base", p.weight(w.base)},
            {"w", p.weight(norm)},
            {"post", mix.stream.post},
            {"comb", mix.stream.comb},
            {"z", mix.x.plain},
            {"q", mix.x.codes},
            {"s", mix.x.scales},
            {"f", stream.f},
            {"last_post", stream.f ? stream.post : Value{}},
            {"last_comb", stream.f ? stream.comb : Value{}},
            {"h", stream.f ? h : Value{}}},
           {{"eps", p.config.norm_eps},
            {"eps_gate", p.config.hc_eps},
            {"iterations", static_cast<double>(p.config.sinkhorn_iterations)}});
  return mix;
}

void unmix(Pass& p, const Stream& stream, Value out) {
  p.b.call("hc_post_combine", {{"f", stream.f},
                               {"res", stream.h},
                               {"post", stream.post},
                               {"comb", stream.comb},
                               {"y", out}});
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
