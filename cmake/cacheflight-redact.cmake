# Finds OpenSSL's libcrypto for cacheflight::redact. Our own build and the installed package both use this
# file.
#
# Sets cacheflight_redact_FOUND, and cacheflight_redact_DEPENDENCY or cacheflight_redact_NOT_FOUND_MESSAGE.

set(cacheflight_redact_FOUND FALSE)
set(cacheflight_redact_DEPENDENCY OpenSSL::Crypto)
find_package(OpenSSL 3.0 QUIET COMPONENTS Crypto)
if(TARGET OpenSSL::Crypto AND OpenSSL_FOUND)
  set(cacheflight_redact_FOUND TRUE)
else()
  set(cacheflight_redact_NOT_FOUND_MESSAGE "no OpenSSL 3.0 or newer (on Debian: libssl-dev)")
endif()
