# Warnings, sanitizers and ccache for our own tests and examples. Options are set on the folder, so they never
# reach a consumer.

if(PROJECT_IS_TOP_LEVEL AND NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
  find_program(CACHEFLIGHT_CCACHE ccache DOC "ccache, used if it is there")
  mark_as_advanced(CACHEFLIGHT_CCACHE)
  if(CACHEFLIGHT_CCACHE)
    set(CMAKE_CXX_COMPILER_LAUNCHER "${CACHEFLIGHT_CCACHE}")
  endif()
endif()

if(NOT DEFINED CMAKE_CXX_STANDARD)
  set(CMAKE_CXX_STANDARD 20)
endif()
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_COMPILE_WARNING_AS_ERROR ${CACHEFLIGHT_WERROR})
if(CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang")
  add_compile_options(-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wnon-virtual-dtor -Woverloaded-virtual
    -Wold-style-cast -Wcast-align -Wcast-qual -Wdouble-promotion -Wformat=2 -Wimplicit-fallthrough -Wextra-semi -Wundef -Wunused)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  add_compile_options(-Wduplicated-cond -Wduplicated-branches -Wlogical-op -Wsuggest-override)
  if(CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    add_compile_options(-Wno-restrict) # optimizing, g++ 12 sees overlaps in std::string's operator+ that are none (GCC bug 105651)
  endif()
endif()

if(CACHEFLIGHT_SANITIZE STREQUAL "address")
  # Asio's recycling of frames and small blocks hides uses after free.
  add_compile_definitions(
    BOOST_ASIO_DISABLE_SMALL_BLOCK_RECYCLING BOOST_ASIO_DISABLE_AWAITABLE_FRAME_RECYCLING
    ASIO_DISABLE_SMALL_BLOCK_RECYCLING ASIO_DISABLE_AWAITABLE_FRAME_RECYCLING)
  set(sanitizer_options -fsanitize=address,undefined,leak -fno-sanitize-recover=all)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # With its checks inline, and with one for null and alignment at every use of a pointer, g++ takes twice
    # as long. Of the latter ASan sees the former, and the stage clang-libcxx-asan has both on the same code.
    add_compile_options(-fno-sanitize=null,alignment "SHELL:--param asan-instrumentation-with-call-threshold=0")
  endif()
elseif(CACHEFLIGHT_SANITIZE STREQUAL "thread")
  set(sanitizer_options -fsanitize=thread)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options(-Wno-tsan) # it warns about fences, which Asio has
  else()
    # clang's static runtime does not let a test replace one operator new of the family, its shared one does.
    execute_process(COMMAND "${CMAKE_CXX_COMPILER}" "-print-file-name=libclang_rt.tsan-${CMAKE_SYSTEM_PROCESSOR}.so"
      OUTPUT_VARIABLE runtime OUTPUT_STRIP_TRAILING_WHITESPACE)
    if(IS_ABSOLUTE "${runtime}")
      cmake_path(GET runtime PARENT_PATH runtime_dir)
      add_link_options(-shared-libsan "LINKER:-rpath,${runtime_dir}")
    endif()
  endif()
elseif(NOT CACHEFLIGHT_SANITIZE STREQUAL "")
  message(FATAL_ERROR "CACHEFLIGHT_SANITIZE is \"${CACHEFLIGHT_SANITIZE}\"; it may be empty, address or thread")
endif()
if(CACHEFLIGHT_SANITIZE)
  # Not -O1: on coroutines it makes the compilers take three times as long.
  add_compile_options(${sanitizer_options} -O0 -g1 -fno-omit-frame-pointer)
  add_link_options(${sanitizer_options})
endif()
