# SPDX-License-Identifier: Apache-2.0
# A chip is one folder, tessera/chips/<chip>/, and nothing else names it. Every folder with a
# CMakeLists.txt is added (globbed by design); -DTESSERA_CHIP_<CHIP>=OFF leaves one out. To start a
# new chip, copy a folder and replace the old name by the new one inside it.
#
#   tessera_chip(DEVICE_SRCS device.cc ... [DEVICE_HDRS ...] [DEVICE_DEPS ...] [TESTS ...]
#                [TARGET_SRCS target.cc ...] [TARGET_HDRS ...] [TARGET_DEPS ...] [TARGET_TESTS ...]
#                [CTS_DEVICES cpu:avx2 ...] [NAME cpu])
#     is what the folder's CMakeLists.txt calls. The name is the folder's unless given.
#     DEVICE_SRCS make tessera::chip_<chip>_device (no LLVM), which defines
#     tessera::chips::<chip>::devices(). TARGET_SRCS make tessera::chip_<chip>_target (MLIR and LLVM),
#     which defines tessera::chips::<chip>::targets(). known_failures.inc in the folder is picked up.
#     CTS_DEVICES: device specs for which the conformance suite runs; the chip's name unless given.
#
# The tables of all chips are generated from these calls in tessera/chips/CMakeLists.txt.
#
# TESSERA_CHIPS: the names of all added chips, sorted.
set(TESSERA_CHIPS "")
file(GLOB files CONFIGURE_DEPENDS RELATIVE ${PROJECT_SOURCE_DIR}/tessera/chips
     ${PROJECT_SOURCE_DIR}/tessera/chips/*/CMakeLists.txt)
list(SORT files)
foreach(file IN LISTS files)
  get_filename_component(chip ${file} DIRECTORY)
  string(TOUPPER ${chip} upper)
  option(TESSERA_CHIP_${upper} "Build the chip ${chip}" ON)
  if(TESSERA_CHIP_${upper})
    list(APPEND TESSERA_CHIPS ${chip})
  endif()
endforeach()

# Global properties TESSERA_DEVICE_CHIPS, TESSERA_TARGET_CHIPS: names in table order.
# TESSERA_CTS_DEVICES_<chip>, TESSERA_KNOWN_FAILURES_<chip>: as given and as found.
function(tessera_chip)
  cmake_parse_arguments(ARG "" "NAME"
    "DEVICE_SRCS;DEVICE_HDRS;DEVICE_DEPS;TESTS;TARGET_SRCS;TARGET_HDRS;TARGET_DEPS;TARGET_TESTS;CTS_DEVICES"
    ${ARGN})
  if(NOT ARG_DEVICE_SRCS OR ARG_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "tessera_chip: DEVICE_SRCS missing or unknown words: "
                        "${ARG_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT ARG_NAME)
    get_filename_component(ARG_NAME ${CMAKE_CURRENT_SOURCE_DIR} NAME)
  endif()
  if(NOT ARG_CTS_DEVICES)
    set(ARG_CTS_DEVICES ${ARG_NAME})
  endif()
  tessera_library(NAME chip_${ARG_NAME}_device SRCS ${ARG_DEVICE_SRCS} HDRS ${ARG_DEVICE_HDRS}
                  DEPS tessera::runtime ${ARG_DEVICE_DEPS} TESTS ${ARG_TESTS})
  set_property(GLOBAL APPEND PROPERTY TESSERA_DEVICE_CHIPS ${ARG_NAME})
  set_property(GLOBAL PROPERTY TESSERA_CTS_DEVICES_${ARG_NAME} ${ARG_CTS_DEVICES})
  if(EXISTS ${CMAKE_CURRENT_SOURCE_DIR}/known_failures.inc)
    file(RELATIVE_PATH known_failures ${PROJECT_SOURCE_DIR}
         ${CMAKE_CURRENT_SOURCE_DIR}/known_failures.inc)
    set_property(GLOBAL PROPERTY TESSERA_KNOWN_FAILURES_${ARG_NAME} ${known_failures})
  endif()
  if(ARG_TARGET_SRCS AND TESSERA_WITH_COMPILER)
    tessera_mlir_library(NAME chip_${ARG_NAME}_target SRCS ${ARG_TARGET_SRCS}
                         HDRS ${ARG_TARGET_HDRS} DEPS ${ARG_TARGET_DEPS} TESTS ${ARG_TARGET_TESTS})
    set_property(GLOBAL APPEND PROPERTY TESSERA_TARGET_CHIPS ${ARG_NAME})
  endif()
endfunction()

macro(tessera_add_chips)
  foreach(chip IN LISTS TESSERA_CHIPS)
    add_subdirectory(${PROJECT_SOURCE_DIR}/tessera/chips/${chip})
  endforeach()
  if(EXISTS ${PROJECT_SOURCE_DIR}/tessera/chips/CMakeLists.txt)
    add_subdirectory(${PROJECT_SOURCE_DIR}/tessera/chips)
  endif()
endmacro()
