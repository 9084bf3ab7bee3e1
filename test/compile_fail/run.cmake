# cmake -DCOMPILER= -DFLAGS= -DINCLUDES=a|b -DDEFINITIONS=a|b -DSOURCE= -P run.cmake
#
# Passes if the compiler refuses SOURCE with an error that matches the regular expression (CMake's kind) of
# its first line, `// expect: <regex>`. Only the text of errors counts: notes and quoted source lines do not.

function(fail text) # as it is: CMake breaks the lines of its errors
  message(NOTICE "${SOURCE}: ${text}")
  message(FATAL_ERROR "failed")
endfunction()

file(STRINGS "${SOURCE}" first_line LIMIT_COUNT 1)
if(NOT first_line MATCHES "^// expect: (.+)$")
  fail("the first line must be `// expect: <regex>`")
endif()
set(expected "${CMAKE_MATCH_1}")

separate_arguments(command UNIX_COMMAND "${FLAGS}")
string(REPLACE "|" ";" INCLUDES "${INCLUDES}")
string(REPLACE "|" ";" DEFINITIONS "${DEFINITIONS}")
list(TRANSFORM INCLUDES PREPEND -I)
list(TRANSFORM DEFINITIONS PREPEND -D)
list(APPEND command -std=c++20 ${INCLUDES} ${DEFINITIONS} -pthread -fsyntax-only -fmessage-length=0 "${SOURCE}")

set(ENV{LC_ALL} C)
execute_process(COMMAND "${COMPILER}" ${command} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(result EQUAL 0)
  fail("compiles, but must be refused")
endif()
string(REGEX MATCHALL "[^\n]*error:[^\n]*" errors "${output}")
if(NOT errors MATCHES "error:[^\n]*(${expected})")
  fail("no error matches `${expected}`. The compiler says:\n${output}")
endif()
message(STATUS "refused, as it should be: ${CMAKE_MATCH_0}")
