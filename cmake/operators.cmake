# SPDX-License-Identifier: Apache-2.0
# An operator is one header, tessera/ops/<family>/<operator>.h, and nothing else names it. This file
# finds the headers (globbed by design) and makes from each one generated source.
#
# TESSERA_OPERATOR_HEADERS: all of them, relative to the repository root, sorted.
file(GLOB TESSERA_OPERATOR_HEADERS CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR}
     ${PROJECT_SOURCE_DIR}/tessera/ops/*/*.h)
list(SORT TESSERA_OPERATOR_HEADERS)

function(tessera_add_operators)
endfunction()
