// SPDX-License-Identifier: Apache-2.0
// Hostile configs: what is accepted expands to a finite weight table of sound shapes.
#include "tessera/base/check.h"
#include "tessera/base/testing/fuzz_target.h"
#include "tessera/model/deepseek_v4/config.h"
#include "tessera/model/deepseek_v4/testing/sample_config.h"
#include "tessera/model/deepseek_v4/weight_table.h"

std::vector<std::string> fuzz_seeds() {
  using namespace tessera::model::deepseek_v4;
  return {sample_config().dump(), sample_inference_config().dump(),
          sample_transformers_config().dump(), "{}", "[1]"};
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace tessera::model::deepseek_v4;
  const auto config = parse_config({reinterpret_cast<const char*>(data), size});
  if (!config.ok()) return 0;
  // Large ones are sound too, but take long.
  if (static_cast<int64_t>(config->layers.size()) * config->experts > 1000) return 0;
  uint64_t bytes = 0;
  for (const WeightSpec& weight : expand_weights(*config, config->draft_layers)) {
    TESSERA_CHECK(weight.bytes() > 0 && bytes + weight.bytes() > bytes, "{}", weight.name);
    bytes += weight.bytes();
  }
  return 0;
}
