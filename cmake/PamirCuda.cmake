# The GPU back end (-DPAMIR_CUDA=ON): a module that the program opens at run time, so that it starts
# where no driver is. Nothing here touches the targets of a build without CUDA. PAMIR_CUDA: ON, OFF
# or AUTO; PAMIR_WITH_CUDA says what became of it.

set(PAMIR_WITH_CUDA OFF)
if(NOT PAMIR_CUDA)
  return()
endif()
if(PAMIR_CUDA STREQUAL "AUTO")
  find_package(CUDAToolkit 12.4 QUIET)
  if(NOT CUDAToolkit_FOUND OR NOT CUDAToolkit_NVCC_EXECUTABLE)
    message(STATUS "No CUDA toolkit (nvcc 12.4 or newer): Pamir is built for CPUs only")
    return()
  endif()
  if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
    set(CMAKE_CUDA_COMPILER ${CUDAToolkit_NVCC_EXECUTABLE})
  endif()
endif()
set(PAMIR_WITH_CUDA ON)

# 75: Turing; 80: Ampere and, as their code runs there too, 8.6 and 8.9; 90a: Hopper with its own
# instructions (wgmma); PTX of 90, not of 80, for newer ones: code for less than 9.0 does not await
# its predecessor, so its kernels could not be launched before that has ended.
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES "75-real;80-real;90a-real;90-virtual" CACHE STRING "GPU architectures")
endif()
enable_language(CUDA)
# CMake 3.25 does not know how nvcc 13 spells C++20.
set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_FLAGS_RELEASE "-O3 -lineinfo")
find_package(CUDAToolkit 12.4 REQUIRED)
if(CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CMAKE_CXX_COMPILER_LAUNCHER})
endif()

get_filename_component(PAMIR_CUDA_ROOT ${CMAKE_CURRENT_LIST_DIR}/.. ABSOLUTE)
file(GLOB PAMIR_CUDA_KERNELS CONFIGURE_DEPENDS ${PAMIR_CUDA_ROOT}/kernels/*/*.cu)

# Host code inside .cu files. 177: Hopper-only functions are not referenced in the other passes.
set(PAMIR_CUDA_HOST_FLAGS
    "$<$<COMPILE_LANGUAGE:CUDA>:--diag-suppress=177;-Xcompiler=-Wall,-Wno-unused-parameter,-ffp-contract=off>")

add_library(pamir_cuda_kernels OBJECT ${PAMIR_CUDA_KERNELS})
target_include_directories(pamir_cuda_kernels PUBLIC ${PAMIR_CUDA_ROOT}/src ${PAMIR_CUDA_ROOT})
target_compile_options(pamir_cuda_kernels PRIVATE ${PAMIR_CUDA_HOST_FLAGS})
set_target_properties(pamir_cuda_kernels PROPERTIES POSITION_INDEPENDENT_CODE ON
                      CUDA_RUNTIME_LIBRARY Static)

# cudart inside, the driver found by it at run time; whatever else is missing fails here, not there.
add_library(pamir_cuda MODULE)
target_link_libraries(pamir_cuda PRIVATE pamir_cuda_kernels CUDA::cudart_static)
target_link_options(pamir_cuda PRIVATE -Wl,-z,defs)
set_target_properties(pamir_cuda PROPERTIES PREFIX "" CUDA_RUNTIME_LIBRARY Static LINKER_LANGUAGE CUDA
                      LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

# All programs that test kernels on a GPU.
add_custom_target(pamir_gpu_programs)

# pamir_gpu_test(NAME SRCS ...): a plain program that needs a GPU; exit status 0 is success.
function(pamir_gpu_test NAME)
  cmake_parse_arguments(ARG "" "" "SRCS" ${ARGN})
  add_executable(${NAME} ${ARG_SRCS})
  target_compile_options(${NAME} PRIVATE ${PAMIR_CUDA_HOST_FLAGS})
  target_link_libraries(${NAME} PRIVATE pamir_cuda_kernels CUDA::cudart_static)
  set_target_properties(${NAME} PROPERTIES CUDA_RUNTIME_LIBRARY Static
                        RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
  add_dependencies(pamir_gpu_programs ${NAME})
  add_test(NAME ${NAME} COMMAND ${NAME} --quick)
  set_tests_properties(${NAME} PROPERTIES LABELS gpu RUN_SERIAL ON TIMEOUT 300)
endfunction()
