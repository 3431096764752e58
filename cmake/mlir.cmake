# SPDX-License-Identifier: Apache-2.0
# MLIR and LLVM 22, for tessera/compiler and the target parts of chips only.
#
#   tessera_mlir_library(NAME compiler/ir SRCS ... DEPS ... [TABLEGEN TileOpsIncGen] [TESTS ...]
#                        [NO_PCH] and all that tessera_library takes)
#     is tessera_library plus the MLIR include folders and definitions, the shared precompiled header
#     and the MLIR and LLVM shared libraries. TABLEGEN names targets made by
#     add_public_tablegen_target; the sources wait for them.
#   tessera_tablegen(TileOpsIncGen TileOps.td TileOps.h.inc -gen-op-decls TileOps.cc.inc -gen-op-defs)
#     makes each output from the .td file with the flags that follow it, in the build folder that
#     mirrors the source folder: #include "tessera/compiler/ir/TileOps.h.inc".
#   tessera_mlir_executable(NAME ... SRCS ... DEPS ...)
set(MLIR_DIR /usr/lib/llvm-22/lib/cmake/mlir CACHE PATH "Folder of MLIRConfig.cmake")
find_package(MLIR REQUIRED CONFIG)
list(APPEND CMAKE_MODULE_PATH ${MLIR_CMAKE_DIR} ${LLVM_CMAKE_DIR})
include(TableGen)
include(AddLLVM)
include(AddMLIR)

set(TESSERA_LLVM_TOOLS_DIR ${LLVM_TOOLS_BINARY_DIR})  # lit, FileCheck, mlir-opt
separate_arguments(definitions NATIVE_COMMAND "${LLVM_DEFINITIONS}")
list(REMOVE_DUPLICATES definitions)

add_library(tessera_mlir INTERFACE)
add_library(tessera::mlir ALIAS tessera_mlir)
target_include_directories(tessera_mlir SYSTEM INTERFACE ${LLVM_INCLUDE_DIRS} ${MLIR_INCLUDE_DIRS})
target_compile_options(tessera_mlir INTERFACE ${definitions} -Wno-unused-parameter)
# The shared libraries only: mixing in static parts would give two copies of LLVM's global state.
target_link_libraries(tessera_mlir INTERFACE MLIR LLVM)

# One precompiled header for all MLIR sources: 13 s of header parsing each becomes 2 s.
add_library(tessera_mlir_pch STATIC ${PROJECT_SOURCE_DIR}/cmake/mlir_pch.cc)
target_link_libraries(tessera_mlir_pch PUBLIC tessera_mlir fmt::fmt)
target_include_directories(tessera_mlir_pch PUBLIC ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR})
target_precompile_headers(tessera_mlir_pch PRIVATE ${PROJECT_SOURCE_DIR}/cmake/mlir_pch.h)
set_target_properties(tessera_mlir_pch PROPERTIES PCH_INSTANTIATE_TEMPLATES ON
                      PCH_WARN_INVALID ON)

function(tessera_tablegen target file)
  set(LLVM_TARGET_DEFINITIONS ${file})
  list(TRANSFORM MLIR_INCLUDE_DIRS PREPEND "-I" OUTPUT_VARIABLE includes)
  set(output "")
  foreach(word IN LISTS ARGN ITEMS "")
    if(word MATCHES "^-")
      list(APPEND flags ${word})
      continue()
    endif()
    if(output)
      mlir_tablegen(${output} ${flags} ${includes} -I${PROJECT_SOURCE_DIR})
    endif()
    set(output "${word}")
    set(flags "")
  endforeach()
  add_public_tablegen_target(${target})
endfunction()

function(tessera_mlir_library)
  cmake_parse_arguments(ARG "NO_PCH" "NAME" "TABLEGEN;DEPS;TESTS;TEST_DEPS;TEST_LABELS" ${ARGN})
  tessera_library(NAME ${ARG_NAME} DEPS ${ARG_DEPS} tessera::mlir ${ARG_UNPARSED_ARGUMENTS})
  string(REPLACE "/" "_" name ${ARG_NAME})
  set(target tessera_${name})
  get_target_property(type ${target} TYPE)
  if(ARG_TABLEGEN)
    add_dependencies(${target} ${ARG_TABLEGEN})
  endif()
  if(NOT ARG_NO_PCH AND NOT type STREQUAL "INTERFACE_LIBRARY")
    target_precompile_headers(${target} REUSE_FROM tessera_mlir_pch)
  endif()
  foreach(test IN LISTS ARG_TESTS)
    get_filename_component(stem ${test} NAME_WE)
    tessera_test(NAME ${name}.${stem} SRCS ${test} DEPS ${target} ${ARG_TEST_DEPS}
                 LABELS ${ARG_TEST_LABELS})
    if(ARG_TABLEGEN)
      add_dependencies(${name}.${stem} ${ARG_TABLEGEN})
    endif()
  endforeach()
endfunction()

function(tessera_mlir_executable)
  cmake_parse_arguments(ARG "" "NAME" "SRCS;DEPS" ${ARGN})
  tessera_executable(NAME ${ARG_NAME} SRCS ${ARG_SRCS} DEPS ${ARG_DEPS} tessera::mlir)
  # -fPIC as in the libraries: a header precompiled with it does not serve -fPIE.
  set_target_properties(${ARG_NAME} PROPERTIES POSITION_INDEPENDENT_CODE OFF)
  target_compile_options(${ARG_NAME} PRIVATE -fPIC)
  target_precompile_headers(${ARG_NAME} REUSE_FROM tessera_mlir_pch)
endfunction()
