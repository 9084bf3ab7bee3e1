# Finds prometheus-cpp for cacheflight::prometheus. Our own build and the installed package both use this
# file.
#
# Sets cacheflight_prometheus_FOUND, and cacheflight_prometheus_DEPENDENCY or
# cacheflight_prometheus_NOT_FOUND_MESSAGE.

set(cacheflight_prometheus_FOUND FALSE)
set(cacheflight_prometheus_DEPENDENCY prometheus-cpp::core)
find_package(prometheus-cpp QUIET CONFIG) # its package has no version
if(TARGET prometheus-cpp::core)
  set(cacheflight_prometheus_FOUND TRUE)
else()
  set(cacheflight_prometheus_NOT_FOUND_MESSAGE "no prometheus-cpp (on Debian: prometheus-cpp-dev)")
endif()
