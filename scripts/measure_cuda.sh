#!/bin/bash
# Checks and measures the cuda chip on a machine with a GPU and without a compiler: conformance, goldens, the compute
# sanitizer, operators, a model's step. The packs are made elsewhere:
#   tessera pack --chip cuda:sm_90a -o ops.pack
#   tessera pack --chip cuda:sm_90a --model FLASH -o flash.pack              # FLASH holds Flash's config.json
#   tessera pack --chip cuda:sm_90a --model NANO -o nano-native.pack         # and --precision fp32 -o nano-fp32.pack
# usage: measure_cuda.sh TESSERA_RT PACKS NANO OUT [check|sanitize|operators|model ...]   (all parts, in this order)
# NANO is a folder with config.json, golden.safetensors and layers.safetensors; OUT gets a file for each part.
set -uo pipefail
rt=$(realpath "$1") packs=$(realpath "$2") nano=$(realpath "$3") out=$(mkdir -p "$4" && realpath "$4")
shift 4
parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(check sanitize operators model)
sanitizer=${COMPUTE_SANITIZER:-/usr/local/cuda/bin/compute-sanitizer}
operators() { "$rt" ops list --json | grep -oP '"name": "\K[^"]+'; }

check() {
  for pack in "$packs"/*.pack; do "$rt" pack --finish "$pack" --chip cuda; done
  operators | xargs -P 8 -I{} timeout 120 "$rt" ops test --chip cuda --op {} --pack "$packs/ops.pack"
  for precision in fp32 native; do
    local golden=(--golden "$nano/golden.safetensors")
    [ $precision = native ] && golden+=(--layers "$nano/layers.safetensors")
    timeout 120 "$rt" verify "$nano" --chip cuda --precision $precision --pack "$packs/nano-$precision.pack" "${golden[@]}"
    echo "verify $precision: exit code $?"
  done
}

# API errors are checked by the program itself: a kernel without tensor maps has no symbol of that name. racecheck goes one
# by one: where several processes use the GPU it fails "to track a kernel launch".
sanitize() {
  local tool
  for tool in memcheck initcheck "racecheck --num-cuda-barriers 16"; do
    local at_once=12
    [[ $tool = racecheck* ]] && at_once=1
    operators | xargs -P $at_once -I{} sh -c "timeout 240 '$sanitizer' --tool $tool --report-api-errors no --print-limit 2 --error-exitcode 9 \
      '$rt' ops test --chip cuda --op {} --pack '$packs/ops.pack' > '$out/${tool%% *}.{}.txt' 2>&1; echo ${tool%% *} {} exit code \$?"
  done
}

# Operator and case of each row of docs/performance/cuda.md's table.
rows='gemm_bf16|K=4096 N=4096 T=4096
gemm_bf16|Flash, widened
gemm_fp8|T=4096 a=f8e4m3
gemm_fp8|T=16 a=f8e4m3
gemm_fp8|T=1 a=f8e4m3
gate_up_fp8|T=16 
gate_up_fp8|T=1 
moe_gate_up_fp4|E=16
moe_gemm_fp4|E=16 G=6 
moe_gemm_fp4|block=128
gemm_fp4|T=4096 a=f8e4m3
sparse_attention|T=4096
sparse_attention|N=640 R=16384 T=1 
sparse_attention|T=64 
indexer_scores|T=4096
hc_mix|T=1 
hc_mix|T=4096
act_quant|T=4096
act_quant|T=16384
hadamard|T=262144
hc_split_sinkhorn|T=64
hc_split_sinkhorn|T=4096
*|MB'
operators_bench() {
  echo "$rows" | while IFS='|' read -r op text; do
    timeout 90 "$rt" ops bench --chip cuda --op "$op" --case "$text" --pack "$packs/ops.pack" --json
  done
}

model() {
  for options in "--prefill 4096 --at-position 0" "--prefill 512 --at-position 2048"; do
    # shellcheck disable=SC2086
    timeout 120 "$rt" bench model --config flash --layers 8 --random-weights --chip cuda --pack "$packs/flash.pack" $options
  done
}

for part in "${parts[@]}"; do
  case $part in
    check | sanitize | model) $part ;;
    operators) operators_bench ;;
    *) echo "no part $part" >&2 && exit 2 ;;
  esac > "$out/$part.txt" 2>&1
  echo "$part: $out/$part.txt"
done
