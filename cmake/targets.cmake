# SPDX-License-Identifier: Apache-2.0
# The functions every CMakeLists.txt below tessera/ uses. Source lists are explicit and sorted.
#
#   tessera_library(NAME base SRCS a.cc b.cc DEPS fmt::fmt [PRIVATE_DEPS ...] [HDRS a.h ...]
#                   [TESTS a_test.cc ...] [TEST_DEPS ...] [TEST_LABELS unit])
#     makes tessera_base, alias tessera::base. Without SRCS it is an INTERFACE library. Slashes in a
#     NAME become underscores. Each file of TESTS becomes one test program and one CTest entry.
#   tessera_test(NAME base.result_test SRCS result_test.cc DEPS tessera::base
#                [LABELS unit] [ARGS ...] [ENV A=B ...] [TIMEOUT 120] [SHARDS 1] [NO_MAIN])
#     SHARDS: so many CTest entries, NAME.0 and so on, each with a part of the program's tests.
#   tessera_benchmark(NAME thread_pool_bench SRCS ... DEPS ...)   Google Benchmark, label bench
#   tessera_fuzz(NAME text.message_fuzz SRCS ... DEPS ...)   a target of base/testing/fuzz_target.h: in
#     CTest over its seeds and 5000 fixed random changes; with libFuzzer for as long as wanted
#   tessera_finds_reference_data(target)   reference vectors beside the repository, when there are any
#   tessera_executable(NAME tessera SRCS ... DEPS ...)            a program in bin/
#
# Labels: unit lit cts op e2e slow gpu bench fuzz. `make test` leaves out gpu, bench and slow.

# Sanitizer settings of every test. Containers filled inside the uninstrumented libLLVM would give
# false container-overflow reports, and its pools ones of poisoned memory: what headers poison here it
# hands out there.
set(TESSERA_TEST_ENVIRONMENT
    "ASAN_OPTIONS=detect_container_overflow=0:allow_user_poisoning=0:detect_leaks=1:strict_string_checks=1"
    "LSAN_OPTIONS=suppressions=${PROJECT_SOURCE_DIR}/cmake/lsan.supp:print_suppressions=0"
    "UBSAN_OPTIONS=print_stacktrace=1"
    "TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1")

function(tessera_library)
  cmake_parse_arguments(ARG "" "NAME" "SRCS;HDRS;DEPS;PRIVATE_DEPS;TESTS;TEST_DEPS;TEST_LABELS"
                        ${ARGN})
  if(NOT ARG_NAME OR ARG_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "tessera_library: NAME missing or unknown words: ${ARG_UNPARSED_ARGUMENTS}")
  endif()
  string(REPLACE "/" "_" name ${ARG_NAME})
  set(target tessera_${name})
  if(ARG_SRCS)
    add_library(${target} STATIC ${ARG_SRCS})
    target_include_directories(${target} PUBLIC ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR})
    target_link_libraries(${target} PUBLIC ${ARG_DEPS} PRIVATE ${ARG_PRIVATE_DEPS})
  else()
    add_library(${target} INTERFACE)
    target_include_directories(${target} INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR})
    target_link_libraries(${target} INTERFACE ${ARG_DEPS})
  endif()
  add_library(tessera::${name} ALIAS ${target})
  if(ARG_HDRS)  # headers named here must compile alone: target all_verify_interface_header_sets
    if(ARG_SRCS)
      set(scope PUBLIC)
    else()
      set(scope INTERFACE)
    endif()
    target_sources(${target} ${scope} FILE_SET HEADERS BASE_DIRS ${PROJECT_SOURCE_DIR}
                   FILES ${ARG_HDRS})
  endif()
  foreach(test IN LISTS ARG_TESTS)
    get_filename_component(stem ${test} NAME_WE)
    tessera_test(NAME ${name}.${stem} SRCS ${test} DEPS ${target} ${ARG_TEST_DEPS}
                 LABELS ${ARG_TEST_LABELS})
  endforeach()
endfunction()

function(tessera_test)
  cmake_parse_arguments(ARG "NO_MAIN" "NAME;TIMEOUT;SHARDS" "SRCS;DEPS;LABELS;ARGS;ENV" ${ARGN})
  if(NOT ARG_NAME OR NOT ARG_SRCS OR ARG_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "tessera_test: NAME or SRCS missing or unknown words: "
                        "${ARG_UNPARSED_ARGUMENTS}")
  endif()
  if(NOT ARG_LABELS)
    set(ARG_LABELS unit)
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  if(NOT ARG_SHARDS)
    set(ARG_SHARDS 1)
  endif()
  add_executable(${ARG_NAME} ${ARG_SRCS})
  target_include_directories(${ARG_NAME} PRIVATE ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR})
  target_link_libraries(${ARG_NAME} PRIVATE ${ARG_DEPS} GTest::gtest)
  if(NOT ARG_NO_MAIN)
    target_link_libraries(${ARG_NAME} PRIVATE GTest::gtest_main)
  endif()
  set_target_properties(${ARG_NAME} PROPERTIES
                        RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin/test)
  math(EXPR last "${ARG_SHARDS} - 1")
  foreach(shard RANGE ${last})
    set(test ${ARG_NAME})
    set(environment ${TESSERA_TEST_ENVIRONMENT} ${ARG_ENV})
    if(ARG_SHARDS GREATER 1)
      string(APPEND test .${shard})
      list(APPEND environment GTEST_TOTAL_SHARDS=${ARG_SHARDS} GTEST_SHARD_INDEX=${shard})
    endif()
    add_test(NAME ${test} COMMAND ${ARG_NAME} ${ARG_ARGS} WORKING_DIRECTORY ${PROJECT_BINARY_DIR})
    set_tests_properties(${test} PROPERTIES LABELS "${ARG_LABELS}" TIMEOUT ${ARG_TIMEOUT}
                         ENVIRONMENT "${environment}")
  endforeach()
endfunction()

function(tessera_benchmark)
  cmake_parse_arguments(ARG "" "NAME" "SRCS;DEPS" ${ARGN})
  add_executable(${ARG_NAME} ${ARG_SRCS})
  target_include_directories(${ARG_NAME} PRIVATE ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR})
  target_link_libraries(${ARG_NAME} PRIVATE ${ARG_DEPS} benchmark::benchmark
                        benchmark::benchmark_main)
  set_target_properties(${ARG_NAME} PROPERTIES
                        RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin/bench)
  add_test(NAME bench.${ARG_NAME} COMMAND ${ARG_NAME} --benchmark_min_time=0.05
           WORKING_DIRECTORY ${PROJECT_BINARY_DIR})
  set_tests_properties(bench.${ARG_NAME} PROPERTIES LABELS bench TIMEOUT 600 RUN_SERIAL ON)
endfunction()

function(tessera_fuzz)
  cmake_parse_arguments(ARG "" "NAME" "SRCS;DEPS" ${ARGN})
  add_executable(${ARG_NAME} ${ARG_SRCS})
  target_link_libraries(${ARG_NAME} PRIVATE ${ARG_DEPS})
  if(TESSERA_LIBFUZZER)
    target_compile_options(${ARG_NAME} PRIVATE -fsanitize=fuzzer)
    target_link_options(${ARG_NAME} PRIVATE -fsanitize=fuzzer)
    set(arguments -runs=5000)
  else()
    target_sources(${ARG_NAME} PRIVATE ${PROJECT_SOURCE_DIR}/tessera/base/testing/fuzz_main.cc)
    set(arguments 5000)
  endif()
  set_target_properties(${ARG_NAME} PROPERTIES
                        RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin/test)
  add_test(NAME ${ARG_NAME} COMMAND ${ARG_NAME} ${arguments}
           WORKING_DIRECTORY ${PROJECT_BINARY_DIR})
  set_tests_properties(${ARG_NAME} PROPERTIES LABELS fuzz TIMEOUT 300
                       ENVIRONMENT "${TESSERA_TEST_ENVIRONMENT}")
endfunction()

function(tessera_finds_reference_data target)
  target_compile_definitions(${target} PRIVATE TESSERA_SOURCE_FOLDER="${PROJECT_SOURCE_DIR}")
endfunction()

function(tessera_executable)
  cmake_parse_arguments(ARG "" "NAME" "SRCS;DEPS" ${ARGN})
  add_executable(${ARG_NAME} ${ARG_SRCS})
  target_include_directories(${ARG_NAME} PRIVATE ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR})
  target_link_libraries(${ARG_NAME} PRIVATE ${ARG_DEPS})
endfunction()
