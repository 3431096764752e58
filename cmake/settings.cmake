# SPDX-License-Identifier: Apache-2.0
# Language level, warnings, sanitizers, output folders and ccache. Flags of a build type are in
# CMakePresets.json. The target is the x86-64 baseline (or that of the build machine's architecture):
# no -march=native, since one binary serves every machine.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_C_STANDARD 11)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_LINK_DEPENDS_NO_SHARED ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib)
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()

# Places in messages are relative to the repository root; ccache makes paths relative to the build folder.
file(RELATIVE_PATH relative_source ${PROJECT_BINARY_DIR} ${PROJECT_SOURCE_DIR})
# Deprecated: std::stable_sort of libstdc++ 12 uses what C++20 deprecates, and clang tells every caller.
add_compile_options(
  -Wall -Wextra -Wno-deprecated-declarations
  -fno-math-errno -ffp-contract=off -fvisibility-inlines-hidden
  -fmacro-prefix-map=${PROJECT_SOURCE_DIR}/= -fmacro-prefix-map=${relative_source}=)
if(TESSERA_WERROR)
  add_compile_options(-Werror)
endif()
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  # Without this flag a precompiled header holds a time stamp, and ccache never hits.
  add_compile_options("SHELL:-Xclang -fno-pch-timestamp" -fcolor-diagnostics)
endif()

if(TESSERA_SANITIZE)
  # function and vptr checks read data that code from a JIT or an uninstrumented library lacks.
  add_compile_options(-fsanitize=${TESSERA_SANITIZE} -fno-sanitize-recover=all
                      -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${TESSERA_SANITIZE})
  if(TESSERA_SANITIZE MATCHES "undefined")
    add_compile_options(-fno-sanitize=function,vptr)
  endif()
endif()

# The launcher carries ccache's settings, so a plain `ninja` hits the cache as well. What
# -fmacro-prefix-map makes of a path is the same in every checkout: its own text does not count.
find_program(TESSERA_CCACHE ccache)
if(TESSERA_CCACHE)
  foreach(language C CXX)
    set(CMAKE_${language}_COMPILER_LAUNCHER
        env CCACHE_SLOPPINESS=pch_defines,time_macros CCACHE_BASEDIR=${PROJECT_SOURCE_DIR}
        CCACHE_NOHASHDIR=1 CCACHE_IGNOREOPTIONS=-fmacro-prefix-map=* ${TESSERA_CCACHE})
  endforeach()
endif()

# compile_commands.json for editors, from the preset configured last.
if(PROJECT_IS_TOP_LEVEL)
  file(CREATE_LINK ${PROJECT_BINARY_DIR}/compile_commands.json
       ${PROJECT_SOURCE_DIR}/compile_commands.json SYMBOLIC RESULT ignored)
endif()
