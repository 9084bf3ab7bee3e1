// SPDX-License-Identifier: MIT
//
// docs/guides/databases.md
// not compiled here: databases: a part of examples/postgres.cpp, which is compiled and run
