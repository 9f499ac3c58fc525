# pamir_library(NAME SRCS a.cc b.cc DEPS pamir_base absl::status ...): one room, one static library.
function(pamir_library NAME)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  add_library(${NAME} STATIC ${ARG_SRCS})
  target_include_directories(${NAME} PUBLIC ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/include
                                            ${CMAKE_SOURCE_DIR})
  target_link_libraries(${NAME} PUBLIC ${ARG_DEPS})
endfunction()

# pamir_test(NAME SRCS ... DEPS ... [LABEL fast|slow|fast-grpc|slow-grpc|gpu] [TIMEOUT seconds] [SERIAL]): one test
# program; each TEST in it is a ctest test. Tests find their data through PAMIR_SOURCE_DIR, and the
# programs that were built through PAMIR_BINARY_DIR.
function(pamir_test NAME)
  cmake_parse_arguments(ARG "SERIAL" "TIMEOUT;LABEL" "SRCS;DEPS" ${ARGN})
  if(NOT PAMIR_BUILD_TESTS)
    return()
  endif()
  if(NOT ARG_LABEL)
    set(ARG_LABEL fast)
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 60)
  endif()
  add_executable(${NAME} ${ARG_SRCS})
  target_include_directories(${NAME} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  target_compile_definitions(${NAME} PRIVATE PAMIR_SOURCE_DIR="${CMAKE_SOURCE_DIR}"
                                             PAMIR_BINARY_DIR="${CMAKE_BINARY_DIR}")
  target_link_libraries(${NAME} PRIVATE ${ARG_DEPS} GTest::gmock GTest::gtest_main)
  set(PROPERTIES LABELS "${ARG_LABEL}" TIMEOUT ${ARG_TIMEOUT})
  if(ARG_SERIAL)
    list(APPEND PROPERTIES RUN_SERIAL ON)
  endif()
  include(GoogleTest)
  gtest_discover_tests(${NAME} PROPERTIES ${PROPERTIES} DISCOVERY_TIMEOUT 60
                       DISCOVERY_MODE PRE_TEST)
endfunction()

# pamir_benchmark(NAME SRCS ... DEPS ...): a Google Benchmark program under tests/bench.
function(pamir_benchmark NAME)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  if(NOT PAMIR_BUILD_BENCHMARKS)
    return()
  endif()
  add_executable(${NAME} ${ARG_SRCS})
  target_include_directories(${NAME} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  target_link_libraries(${NAME} PRIVATE ${ARG_DEPS} benchmark::benchmark)
endfunction()

# pamir_fuzzer(NAME SRCS ... DEPS ...): a libFuzzer target; its corpus (tests/fuzz/corpus/NAME) is
# also replayed by a unit test, so the same source defines LLVMFuzzerTestOneInput for both.
function(pamir_fuzzer NAME)
  cmake_parse_arguments(ARG "" "" "SRCS;DEPS" ${ARGN})
  if(PAMIR_BUILD_FUZZERS)
    add_executable(${NAME} ${ARG_SRCS})
    target_include_directories(${NAME} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
    target_link_libraries(${NAME} PRIVATE ${ARG_DEPS})
    target_link_options(${NAME} PRIVATE -fsanitize=fuzzer)
  endif()
  pamir_test(${NAME}_replay SRCS ${ARG_SRCS} ${CMAKE_SOURCE_DIR}/tests/fuzz/replay.cc
             DEPS ${ARG_DEPS})
  if(TARGET ${NAME}_replay)
    target_compile_definitions(${NAME}_replay PRIVATE
        PAMIR_FUZZ_CORPUS="${CMAKE_SOURCE_DIR}/tests/fuzz/corpus/${NAME}")
  endif()
endfunction()
