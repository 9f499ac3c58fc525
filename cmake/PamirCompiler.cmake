# Flags that every target is compiled with.

# The bits of a float result must not depend on what the compiler chose to fuse: fused
# multiply-adds are written out where they are wanted (docs/ARCHITECTURE.md, "one arithmetic").
add_compile_options(-Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers -ffp-contract=off)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 sees overlaps in std::string that are not there.
  add_compile_options($<$<CONFIG:Release>:-Wno-restrict>)
endif()
if(PAMIR_WERROR)
  add_compile_options(-Werror)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1")
set(CMAKE_CXX_FLAGS_DEBUG "-O0 -g")

if(PAMIR_SANITIZE)
  add_compile_options(-fsanitize=${PAMIR_SANITIZE} -fno-omit-frame-pointer -O1)
  add_link_options(-fsanitize=${PAMIR_SANITIZE})
  if(PAMIR_SANITIZE MATCHES "undefined")
    add_compile_options(-fno-sanitize-recover=undefined)
  endif()
endif()

find_program(PAMIR_CCACHE ccache)
if(PAMIR_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${CMAKE_SOURCE_DIR}
      CCACHE_NOHASHDIR=1 ${PAMIR_CCACHE})
endif()
