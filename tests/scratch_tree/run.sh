#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Adds one operator, or one chip, to a copy of the source tree and tests it there: nothing but the new
# header, or the new folder, may be needed. The copy is kept, so that a second run builds little.
# Usage: run.sh operator|chip SOURCE_TREE COPY
set -euo pipefail
what=$1 source=$2 tree=$3
files=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

if ! git -C "$source" rev-parse --is-inside-work-tree >/dev/null 2>&1; then
  echo "skipped: $source is no git work tree"
  exit 77
fi

# The files of the source tree, committed or not, as one commit. Times are kept: what did not change is
# not built again.
copy_source() {
  if [[ -d $tree/.git ]]; then
    git -C "$tree" ls-files -z --cached --others --exclude-standard | (cd "$tree" && xargs -0 rm -f)
  else
    rm -rf "$tree"
    git init -q "$tree"
  fi
  git -C "$source" ls-files -z --cached --others --exclude-standard |
    (cd "$source" && while IFS= read -r -d '' file; do [[ ! -f $file ]] || printf '%s\0' "$file"; done) |
    tar -C "$source" --null -T - -cf - | tar -C "$tree" -xf -
  git -C "$tree" add -A
  git -C "$tree" -c user.name=test -c user.email=test@localhost commit -q --allow-empty -m base
  [[ -z $(git -C "$tree" status --porcelain) ]]
}

build() {  # targets
  local operators='^tessera/ops/(norm/rms_norm|quant/act_quant|quant/hadamard|rope/rope|activation/.*)[.]h$'
  cmake --preset release -DTESSERA_OPERATORS="$operators" >configure.log 2>&1 || { cat configure.log; return 1; }
  rm configure.log
  cmake --build --preset release --target "$@"
}

# Fails unless the output of a command contains a text.
expect() {  # text, command...
  local text=$1 output
  shift
  output=$("$@" 2>&1) || { printf '%s\n' "$output"; echo "failed: $*"; return 1; }
  printf '%s\n' "$output" | tail -n 20
  [[ $output == *"$text"* ]] || { echo "no \"$text\" in the output of: $*"; return 1; }
}

only_change() {
  local status
  status=$(git status --porcelain)
  [[ $status == "$1" ]] || { printf 'expected only "%s", git status says:\n%s\n' "$1" "$status"; return 1; }
  echo "git status: $status"
}

add_operator() {
  cp "$files/softsign.h" tessera/ops/activation/
  build tessera
  expect "y = x / (1 + |x|)" $bin/tessera ops show softsign
  for chip in null cpu; do
    expect "1 operators, 4 cases, 0 bad" $bin/tessera ops test --op softsign --chip $chip
  done
  only_change "?? tessera/ops/activation/softsign.h"
}

# The null chip under another name, unable to use memory of the host in place.
add_chip() {
  rm -rf tessera/chips/bare  # empty folders of an earlier run
  cp -r tessera/chips/null tessera/chips/bare
  sed -i 's/chips::null/chips::bare/g; s/chip_null/chip_bare/g; s#chips/null/#chips/bare/#g
          s/"null/"bare/g; s/\bchip null\b/chip bare/g; s/\bNull/Bare/g' tessera/chips/bare/*
  sed -i '/::import_host(/,/^}/d; /^class ImportedBuffer/,/^};/d' tessera/chips/bare/device.cc
  sed -i '/import_host(/d' tessera/chips/bare/device.h
  sed -i '/^TEST(Memory, ImportedMemoryIsReadOnly)/,/^}/d' tessera/chips/bare/memory_test.cc
  if grep -n 'import_host\|\bnull:' tessera/chips/bare/*.cc tessera/chips/bare/*.h; then return 1; fi
  build tessera tessera_cts
  expect "bare:trace" $bin/tessera chips
  expect "[  PASSED  ]" $bin/test/tessera_cts --device=bare
  local names=rms_norm,act_quant,hadamard,rope,swiglu_clamp
  for operator in ${names//,/ }; do
    expect "0 bad" $bin/tessera ops test --op "$operator" --chip bare
  done
  only_change "?? tessera/chips/bare/"
}

copy_source
cd "$tree"
bin=build/release/bin
export TESSERA_CACHE_DIR=$tree/build/kernel-cache
case $what in
  operator) add_operator ;;
  chip) add_chip ;;
  *) echo "run.sh: $what is neither operator nor chip"; exit 2 ;;
esac
