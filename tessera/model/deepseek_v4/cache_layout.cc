// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/cache_layout.h"

namespace tessera::model::deepseek_v4 {
namespace {

constexpr int64_t kAlignment = 256;

class Region {
 public:
  int64_t take(int64_t bytes, int64_t& counter) {
    const int64_t offset = end_;
    const int64_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
    end_ += rounded;
    counter += rounded;
    return offset;
  }
  int64_t end() const { return end_; }

 private:
  int64_t end_ = 0;
};

StateRegion place_state(Region& region, CacheLayout& layout, int64_t ratio, int64_t columns) {
  StateRegion state;
  state.width = columns * (CacheLayout::overlaps(ratio) ? 2 : 1);
  const int64_t bytes = layout.options.sequences * CacheLayout::slots(ratio) * state.width * 4;
  state.kv_offset = region.take(bytes, layout.state_bytes);
  state.score_offset = region.take(bytes, layout.state_bytes);
  return state;
}

}  // namespace

CacheLayout plan_caches(const std::vector<int64_t>& ratios, const CacheOptions& options) {
  CacheLayout layout;
  layout.options = options;
  // A step is written whole before any of its rows reads its window, and some of it may be taken
  // back.
  layout.ring = options.window + options.largest_step - 1 + CacheLayout::kRollback;
  Region region;
  for (int64_t ratio : ratios) {
    LayerCache cache;
    cache.ratio = ratio;
    cache.kv_offset =
        region.take(options.sequences * layout.rows(ratio) * options.row_bytes, layout.kv_bytes);
    if (ratio != 0) cache.state = place_state(region, layout, ratio, options.head_dim);
    if (CacheLayout::is_indexed(ratio)) {
      cache.index_offset = region.take(
          options.sequences * layout.capacity(ratio) * options.index_row_bytes, layout.index_bytes);
      cache.index_state = place_state(region, layout, ratio, options.index_head_dim);
    }
    layout.layers.push_back(cache);
  }
  layout.bytes = region.end();
  return layout;
}

}  // namespace tessera::model::deepseek_v4
