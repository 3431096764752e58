// SPDX-License-Identifier: Apache-2.0
// Configurations of published models, for measurements without a checkpoint.
#pragma once

#include <string_view>

#include "tessera/base/result.h"
#include "tessera/model/deepseek_v4/config.h"

namespace tessera::model::deepseek_v4 {

Config flash_config();
Config pro_config();

/// The configuration with `layers` of its layers: a run of its schedule that starts at the first
/// layer of ratio 4, so that few layers hold both compressed kinds. All of them when there are not
/// more. No draft block.
Config shortened(Config config, int64_t layers);

}  // namespace tessera::model::deepseek_v4
