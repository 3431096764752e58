// SPDX-License-Identifier: Apache-2.0
#include "tessera/model/deepseek_v4/scale_check.h"

#include <algorithm>
#include <mutex>
#include <optional>
#include <utility>

#include "tessera/base/parallel.h"

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
  std::vector<std::optional<NanScales>> found(scales.size());
  std::mutex mutex;  // of `check`
  for_each_parallel(scales.size(), 0, [&](size_t i) {
    const Tensor& tensor = *scales[i];
    const auto data = tensor.data;
    if (const auto first = std::ranges::find(data, kNan); first != data.end()) {
      const auto at = static_cast<int64_t>(first - data.begin());
      found[i] = {tensor.name, std::ranges::count(first, data.end(), kNan), at / tensor.shape[-1],
                  at % tensor.shape[-1]};
    }
    checkpoint.dont_need(tensor);
    const std::lock_guard lock(mutex);
    ++check.tensors;
    check.bytes += data.size();
    progress(check.bytes, total);
  });
  for (auto& nan : found)
    if (nan) check.found.push_back(std::move(*nan));
  return check;
}

}  // namespace tessera::model::deepseek_v4
