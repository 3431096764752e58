#!/bin/bash
# Verifies a small checkpoint on Vulkan with no cache and says how long it took: less than 58 s is wanted of lavapipe on two
# free cores.
# usage: vulkan_verify.sh TESSERA
set -euo pipefail
nano=${TESSERA_REFERENCE_DIR:-../shared/reference}/goldens/flash-nano
if [ ! -e "$nano/golden.safetensors" ]; then
  echo "skipped: no reference data at $nano"
  exit 77
fi
if ! "$1" chips | grep -q 'arch vulkan:'; then
  echo "skipped: no Vulkan device here"
  exit 77
fi
cache=$(mktemp -d)
trap 'rm -rf "$cache"' EXIT
export XDG_CACHE_HOME=$cache TESSERA_CACHE_DIR=$cache/tessera MESA_SHADER_CACHE_DISABLE=true
start=$(date +%s%N)
"$1" verify "$nano" --golden "$nano/golden.safetensors" --layers "$nano/layers.safetensors" --chip vulkan
tenths=$((($(date +%s%N) - start) / 100000000))
echo "$((tenths / 10)).$((tenths % 10)) s"
