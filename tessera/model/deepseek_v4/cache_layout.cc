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

std::vector<CacheRegion> CacheLayout::volatile_regions(int64_t sequence) const {
  std::vector<CacheRegion> regions;
  const auto add_state = [&](int64_t ratio, const StateRegion& state) {
    const int64_t bytes = slots(ratio) * state.width * 4;
    if (bytes == 0) return;
    regions.push_back({state.kv_offset + sequence * bytes, bytes});
    regions.push_back({state.score_offset + sequence * bytes, bytes});
  };
  for (const LayerCache& layer : layers) {
    const int64_t row = options.row_bytes;
    regions.push_back({layer.kv_offset + sequence * rows(layer.ratio) * row, ring * row});
    add_state(layer.ratio, layer.state);
    add_state(layer.ratio, layer.index_state);
  }
  return regions;
}

int64_t CacheLayout::volatile_bytes() const {
  int64_t bytes = 0;
  for (const CacheRegion& region : volatile_regions(0)) bytes += region.bytes;
  return bytes;
}

}  // namespace tessera::model::deepseek_v4
