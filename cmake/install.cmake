# Install rules. Everything is independent of the architecture, so it goes below the data directory, and
# nothing that is installed holds an absolute path, so the tree may be moved.

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(cacheflight_cmake_dir "${CMAKE_INSTALL_DATADIR}/cmake/cacheflight")
set(cacheflight_pkgconfig_dir "${CMAKE_INSTALL_DATADIR}/pkgconfig")

install(DIRECTORY include/cacheflight TYPE INCLUDE FILES_MATCHING PATTERN "*.hpp")
install(FILES LICENSE DESTINATION "${CMAKE_INSTALL_DOCDIR}")
install(FILES gdb/cacheflight.py DESTINATION "${CMAKE_INSTALL_DATADIR}/cacheflight/gdb")
install(DIRECTORY monitoring DESTINATION "${CMAKE_INSTALL_DATADIR}/cacheflight")

# The parts are not exported: the package defines them where it is used, with what is found there.
install(TARGETS cacheflight EXPORT cacheflight-targets INCLUDES DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(EXPORT cacheflight-targets NAMESPACE cacheflight:: DESTINATION "${cacheflight_cmake_dir}")
configure_package_config_file(cmake/cacheflight-config.cmake.in cacheflight-config.cmake
  INSTALL_DESTINATION "${cacheflight_cmake_dir}" NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(cacheflight-config-version.cmake COMPATIBILITY SameMajorVersion ARCH_INDEPENDENT)
install(FILES
  "${CMAKE_CURRENT_BINARY_DIR}/cacheflight-config.cmake"
  "${CMAKE_CURRENT_BINARY_DIR}/cacheflight-config-version.cmake"
  DESTINATION "${cacheflight_cmake_dir}")

foreach(part IN LISTS cacheflight_parts)
  install(FILES cmake/cacheflight-${part}.cmake DESTINATION "${cacheflight_cmake_dir}")
endforeach()

# The pkg-config file names its prefix relative to itself, unless the folders were given as absolute paths.
if(IS_ABSOLUTE "${cacheflight_pkgconfig_dir}")
  set(cacheflight_pc_prefix "${CMAKE_INSTALL_PREFIX}")
else()
  file(RELATIVE_PATH way_up "/prefix/${cacheflight_pkgconfig_dir}" "/prefix")
  string(REGEX REPLACE "/$" "" way_up "${way_up}")
  set(cacheflight_pc_prefix "\${pcfiledir}/${way_up}")
endif()
if(IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
  set(cacheflight_pc_includedir "${CMAKE_INSTALL_INCLUDEDIR}")
else()
  set(cacheflight_pc_includedir "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
endif()
configure_file(cmake/cacheflight.pc.in cacheflight.pc @ONLY)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/cacheflight.pc" DESTINATION "${cacheflight_pkgconfig_dir}")

# cpack -G DEB, in the build folder, makes libcacheflight-dev, the same for all architectures.
if(PROJECT_IS_TOP_LEVEL)
  set(CPACK_GENERATOR DEB)
  set(CPACK_PACKAGE_NAME libcacheflight-dev)
  set(CPACK_PACKAGE_CONTACT "CacheFlight contributors")
  set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
  set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
  set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE all)
  set(CPACK_DEBIAN_PACKAGE_SECTION libdevel)
  set(CPACK_DEBIAN_PACKAGE_SUGGESTS "libboost1.81-dev | libboost-dev (>= 1.81), libssl-dev, prometheus-cpp-dev, gdb")
  # Debian wants the licence under the package's own name, which other installations have no use for.
  install(FILES LICENSE DESTINATION "${CMAKE_INSTALL_DATADIR}/doc/libcacheflight-dev" RENAME copyright
    COMPONENT debian EXCLUDE_FROM_ALL)
  set(CPACK_INSTALL_CMAKE_PROJECTS "${PROJECT_BINARY_DIR};cacheflight;ALL;/;${PROJECT_BINARY_DIR};cacheflight;debian;/")
  include(CPack)
endif()
