# SPDX-License-Identifier: Apache-2.0
# Run while building: writes a header with a hash over files, their names and their contents.
#   cmake -D ROOT=<folder> -D LIST=<file with a path a line, relative to ROOT> -D OUTPUT=<header>
#         -D NAME=<constant> -P source_hash.cmake
file(STRINGS ${LIST} files)
set(all "")
foreach(file IN LISTS files)
  file(SHA256 ${ROOT}/${file} hash)
  string(APPEND all "${file} ${hash}\n")
endforeach()
string(SHA256 hash "${all}")
string(SUBSTRING ${hash} 0 32 hash)
file(WRITE ${OUTPUT}.new "#pragma once\ninline constexpr char ${NAME}[] = \"${hash}\";\n")
execute_process(COMMAND ${CMAKE_COMMAND} -E copy_if_different ${OUTPUT}.new ${OUTPUT})
file(REMOVE ${OUTPUT}.new)
