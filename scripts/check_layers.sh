#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Checks the direction of includes. A layer may include itself, what the table names, and what those
# may include. MLIR, LLVM and LLD headers appear in tessera/compiler and chips/*/target* only, and no
# chip includes another one. Usage: check_layers.sh [root]
set -euo pipefail
cd "${1:-"$(dirname "${BASH_SOURCE[0]}")/.."}"

table='
base
runtime    base
kernels    runtime lang
lang       base
ops        lang kernels
compiler   lang kernels
comm       runtime
checkpoint base
text       base
model      ops comm checkpoint
engine     model text
server     engine
cli        engine server chips
chips      runtime lang kernels compiler
'

find tessera -type f \( -name '*.h' -o -name '*.cc' -o -name '*.inc' \) -print0 | sort -z |
  xargs -0 --no-run-if-empty awk -v table="$table" '
  function allow(layer, other,    i, n, parts) {  # all that `other` may include, too
    if ((layer, other) in allowed) return
    allowed[layer, other] = 1
    n = split(direct[other], parts, " ")
    for (i = 1; i <= n; i++) allow(layer, parts[i])
  }
  function complain(text) {
    printf "%s:%d: %s\n", FILENAME, FNR, text
    failures++
  }
  BEGIN {
    count = split(table, lines, "\n")
    for (i = 1; i <= count; i++)
      if (match(lines[i], /^[a-z]+/)) {
        layer = substr(lines[i], 1, RLENGTH)
        known[layer] = 1
        direct[layer] = substr(lines[i], RLENGTH + 1)
      }
    for (layer in known) allow(layer, layer)
  }
  FNR == 1 {
    split(FILENAME, path, "/")
    layer = path[2]
    chip = layer == "chips" && path[4] != "" ? path[3] : ""
    file = path[split(FILENAME, ignored, "/")]
    # A chip is two parts: the device part stays clear of the compiler.
    target = chip != "" && (file ~ /^target/ || path[4] ~ /^target/)
    compiles = layer == "compiler" || target
    if (!(layer in known)) complain("layer " layer " is not in the table of scripts/check_layers.sh")
  }
  /^[ \t]*#[ \t]*include[ \t]*[<"](mlir|llvm|lld|clang)(-c)?\// {
    if (!compiles) complain("MLIR and LLVM headers belong in tessera/compiler and chips/*/target*: " $0)
  }
  /^[ \t]*#[ \t]*include[ \t]*"tessera\// {
    split($0, quoted, "\"")
    split(quoted[2], included, "/")
    other = included[2]
    if (!(other in known)) complain("unknown layer " other)
    else if (!((layer, other) in allowed)) complain(layer " may not include " other ": " quoted[2])
    else if (other == "chips" && chip != "" && included[4] != "" && included[3] != chip)
      complain("chip " chip " may not include chip " included[3] ": " quoted[2])
    else if (other == "compiler" && layer == "chips" && chip != "" && !target && file !~ /_test\.cc$/)
      complain("only target files of a chip may include the compiler: " quoted[2])
  }
  END {
    if (failures) printf "layers: %d wrong includes\n", failures
    exit failures > 0
  }'
echo "layers: ok"
