// SPDX-License-Identifier: Apache-2.0
#include "tests/reference_model/layer.h"

#include "tests/reference_model/norm.h"

namespace tessera::reference_model {

Layer::Layer(WeightReader& weights, const std::string& prefix, const Config& config, int64_t ratio,
             bool hash_routed)
    : eps_(config.rms_norm_eps),
      hc_attn_(weights, prefix + "hc_attn", config),
      hc_ffn_(weights, prefix + "hc_ffn", config),
      attn_norm_(weights.vector(prefix + "attn_norm.weight", config.hidden_size)),
      ffn_norm_(weights.vector(prefix + "ffn_norm.weight", config.hidden_size)),
      attention_(weights, prefix + "attn.", config, ratio),
      moe_(weights, prefix + "ffn.", config, hash_routed) {}

Rows Layer::forward(const Numerics& numerics, const Rows& h, std::span<const int64_t> ids,
                    AttentionState& state, const Trace& trace) const {
  const auto trace_mix = [&](const std::string& name, const HyperConnection::Mix& mix) {
    trace(name + ".pre", mix.pre);
    trace(name + ".post", mix.post);
    trace(name + ".comb", mix.comb);
  };
  const auto attn_mix = hc_attn_.mix(h);
  trace_mix("hc_attn", attn_mix);
  Rows x = hc_attn_.before(numerics, h, attn_mix);
  rms_norm(numerics, attn_norm_, eps_, x);
  trace("attn_norm", x);
  x = attention_.forward(numerics, x, state, trace.within("attn."));
  trace("attn", x);
  const Rows middle = hc_attn_.after(numerics, x, h, attn_mix);
  trace("h_attn", middle);

  const auto ffn_mix = hc_ffn_.mix(middle);
  trace_mix("hc_ffn", ffn_mix);
  x = hc_ffn_.before(numerics, middle, ffn_mix);
  rms_norm(numerics, ffn_norm_, eps_, x);
  trace("ffn_norm", x);
  x = moe_.forward(numerics, x, ids, trace.within("ffn."));
  trace("ffn", x);
  Rows next = hc_ffn_.after(numerics, x, middle, ffn_mix);
  trace("h", next);
  return next;
}

}  // namespace tessera::reference_model
