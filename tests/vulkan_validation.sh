#!/bin/bash
# The runtime's conformance and some operators on Vulkan under Khronos' validation layer, which must find nothing.
# usage: vulkan_validation.sh TESSERA TESSERA_CTS
set -euo pipefail
if ! ls /usr/share/vulkan/explicit_layer.d/VkLayer_khronos_validation.json > /dev/null 2>&1; then
  echo "skipped: no validation layer here (Debian: vulkan-validationlayers)"
  exit 77
fi
export VK_INSTANCE_LAYERS=VK_LAYER_KHRONOS_validation
said=$(mktemp)
trap 'rm -f "$said"' EXIT
"$2" --device=vulkan > "$said" 2>&1 || { code=$?; cat "$said"; exit "$code"; }
for op in rms_norm act_quant gemm_fp8 hc_split_sinkhorn kv_ring_write; do
  "$1" ops test --chip vulkan --op "$op" >> "$said" 2>&1 || { cat "$said"; exit 1; }
done
if grep -E 'VUID|UNASSIGNED' "$said"; then exit 1; fi
grep -cE '^ok|PASSED' "$said"
