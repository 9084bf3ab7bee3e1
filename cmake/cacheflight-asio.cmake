# Finds the Asio headers for cacheflight::asio and defines the target cacheflight::asio_headers. Our own build
# and the installed package both use this file, so that they agree on what is accepted.
#
# CACHEFLIGHT_STANDALONE_ASIO: use standalone Asio instead of Boost.Asio.
# Sets cacheflight_asio_FOUND, and cacheflight_asio_DEPENDENCY or cacheflight_asio_NOT_FOUND_MESSAGE.

set(cacheflight_asio_FOUND FALSE)
set(cacheflight_asio_DEPENDENCY cacheflight::asio_headers)
if(CACHEFLIGHT_STANDALONE_ASIO)
  find_path(CACHEFLIGHT_ASIO_INCLUDE_DIR asio/version.hpp DOC "Folder that holds asio.hpp")
  mark_as_advanced(CACHEFLIGHT_ASIO_INCLUDE_DIR)
  set(cacheflight_asio_version 0)
  if(CACHEFLIGHT_ASIO_INCLUDE_DIR)
    file(STRINGS "${CACHEFLIGHT_ASIO_INCLUDE_DIR}/asio/version.hpp" cacheflight_asio_version REGEX "define +ASIO_VERSION +[0-9]+")
    string(REGEX REPLACE "^.*ASIO_VERSION +([0-9]+).*$" "\\1" cacheflight_asio_version "${cacheflight_asio_version}")
  endif()
  if(cacheflight_asio_version GREATER_EQUAL 102600) # 1.26.0, which is what Boost 1.81 has
    set(cacheflight_asio_FOUND TRUE)
    if(NOT TARGET cacheflight::asio_headers)
      add_library(cacheflight::asio_headers INTERFACE IMPORTED)
      target_include_directories(cacheflight::asio_headers INTERFACE "${CACHEFLIGHT_ASIO_INCLUDE_DIR}")
      target_compile_definitions(cacheflight::asio_headers INTERFACE CACHEFLIGHT_STANDALONE_ASIO)
    endif()
  else()
    set(cacheflight_asio_NOT_FOUND_MESSAGE "no standalone Asio 1.26 or newer (set CACHEFLIGHT_ASIO_INCLUDE_DIR to the folder that holds asio.hpp)")
  endif()
else()
  find_package(Boost 1.81 QUIET CONFIG)
  if(NOT Boost_FOUND AND CMAKE_VERSION VERSION_LESS 3.30)
    find_package(Boost 1.81 QUIET MODULE) # a Boost without CMake files; newer CMakes have no FindBoost
  endif()
  if(Boost_FOUND)
    set(cacheflight_asio_FOUND TRUE)
    if(NOT TARGET cacheflight::asio_headers)
      add_library(cacheflight::asio_headers INTERFACE IMPORTED)
      target_link_libraries(cacheflight::asio_headers INTERFACE Boost::headers)
    endif()
  else()
    set(cacheflight_asio_NOT_FOUND_MESSAGE "no Boost 1.81 or newer (on Debian: libboost1.81-dev; or set Boost_ROOT, or CACHEFLIGHT_STANDALONE_ASIO for standalone Asio)")
  endif()
endif()
