// SPDX-License-Identifier: Apache-2.0
#include "tessera/runtime/device.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace tessera::runtime {

bool DeviceInfo::has_feature(std::string_view feature) const {
  return std::find(features.begin(), features.end(), feature) != features.end();
}

Result<std::unique_ptr<Buffer>> Device::import_host(std::span<const std::byte>) {
  return unsupported(fmt::format("{} cannot use host memory in place", info_.arch));
}

Result<std::shared_ptr<Executable>> Device::load(const KernelImage& image) {
  std::vector<std::string_view> missing;
  for (const std::string& feature : image.required_features)
    if (!info_.has_feature(feature)) missing.push_back(feature);
  if (!missing.empty())
    return unsupported(fmt::format("kernel {} needs {}, which {} ({}) lacks", image.entry,
                                   fmt::join(missing, ", "), info_.name, info_.arch));
  return do_load(image);
}

Error Device::unknown_format(const KernelImage& image, std::string_view accepted) const {
  return unsupported(fmt::format("kernel {} has format \"{}\"; {} loads {}", image.entry,
                                 image.format, info_.arch, accepted));
}

}  // namespace tessera::runtime
