# Everything that Pamir is built from. Nothing is downloaded here: what is missing is named with
# its Debian package, and ./scripts/setup installs the whole list.

macro(pamir_find PACKAGE DEBIAN_PACKAGE)
  find_package(${PACKAGE} ${ARGN} QUIET)
  if(NOT ${PACKAGE}_FOUND)
    message(FATAL_ERROR "${PACKAGE} was not found. On Debian: apt-get install ${DEBIAN_PACKAGE} "
                        "(or run ./scripts/setup, which installs all that Pamir needs)")
  endif()
endmacro()

pamir_find(Threads libc6-dev)
pamir_find(Protobuf libprotobuf-dev MODULE)
pamir_find(gRPC "libgrpc++-dev protobuf-compiler-grpc" CONFIG)
pamir_find(absl libabsl-dev CONFIG)
pamir_find(spdlog libspdlog-dev CONFIG)
pamir_find(Gloo libgloo-dev CONFIG)
pamir_find(hwy libhwy-dev CONFIG)
pamir_find(nlohmann_json nlohmann-json3-dev CONFIG)
pamir_find(CLI11 libcli11-dev CONFIG)
pamir_find(OpenSSL libssl-dev)
if(PAMIR_BUILD_TESTS)
  pamir_find(GTest "libgtest-dev libgmock-dev" CONFIG)
endif()
if(PAMIR_BUILD_BENCHMARKS)
  pamir_find(benchmark libbenchmark-dev CONFIG)
  # oneDNN's own CMake package wants OpenCL's headers, which we do not need.
  find_library(PAMIR_DNNL dnnl)
  if(NOT PAMIR_DNNL)
    message(FATAL_ERROR "oneDNN was not found. On Debian: apt-get install libdnnl-dev")
  endif()
endif()
