// SPDX-License-Identifier: MIT
//
// docs/guides/plugins.md
//
// A program and its plugin: commands.py builds them, runs the one, and compares what it prints.
// not compiled here: a-whole-example: docs.commands builds it
// not compiled here: a-whole-example-2: docs.commands builds it
// not compiled here: a-whole-example-3: docs.commands builds it
