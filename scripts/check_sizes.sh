#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Hand-written files stay readable: above 600 lines a note, above 1000 a failure, unless the file is
# listed below with its limit and the reason.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# path  limit  reason
allowed='
'

git ls-files --cached --others --exclude-standard -- \
  '*.h' '*.cc' '*.td' '*.inc' '*.cmake' '*.sh' '*CMakeLists.txt' 'dev' '.ci/run' | sort |
  while read -r file; do [[ -f $file ]] && printf '%s\0' "$file"; done |
  xargs -0 --no-run-if-empty awk -v allowed="$allowed" '
  BEGIN {
    count = split(allowed, lines, "\n")
    for (i = 1; i <= count; i++)
      if (split(lines[i], words, " ") >= 2) limit[words[1]] = words[2]
    limit["dev"] = 150
  }
  function judge() {
    if (file == "") return
    most = file in limit ? limit[file] : 1000
    if (lines_of_file > most) {
      printf "%s: %d lines, limit %d\n", file, lines_of_file, most
      failures++
    } else if (lines_of_file > 600) {
      printf "note: %s: %d lines, consider a split\n", file, lines_of_file
    }
  }
  FNR == 1 { judge(); file = FILENAME }
  { lines_of_file = FNR }
  END { judge(); exit failures > 0 }'
echo "sizes: ok"
