// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/scale_check.h"

#include <algorithm>
#include <utility>

namespace tessera::model::deepseek_v4 {

using checkpoint::Tensor;

ScaleCheck check_scales(const checkpoint::Checkpoint& checkpoint,
                        std::span<const WeightSpec> weights,
                        const std::function<void(uint64_t, uint64_t)>& progress) {
  constexpr std::byte kNan{255};
  std::vector<const Tensor*> scales;
  uint64_t total = 0;
  for (const WeightSpec& spec : weights) {
    const Tensor* tensor = spec.is_scale ? checkpoint.find(spec.name) : nullptr;
    if (tensor == nullptr || tensor->dtype != DType::f8e8m0 || tensor->shape != spec.shape)
      continue;
    scales.push_back(tensor);
    total += tensor->data.size();
  }
  // Disks like to be read in order.
  std::ranges::sort(scales, {},
                    [](const Tensor* t) { return std::pair(t->shard, t->data.data()); });

  ScaleCheck check;
  for (const Tensor* tensor : scales) {
    const auto data = tensor->data;
    ++check.tensors;
    check.bytes += data.size();
    const auto first = std::ranges::find(data, kNan);
    if (first != data.end()) {
      const auto at = static_cast<int64_t>(first - data.begin());
      check.found.push_back({tensor->name, std::ranges::count(first, data.end(), kNan),
                             at / tensor->shape[-1], at % tensor->shape[-1]});
    }
    checkpoint.dont_need(*tensor);
    progress(check.bytes, total);
  }
  return check;
}

}  // namespace tessera::model::deepseek_v4
