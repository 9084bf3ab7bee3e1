#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""prints.py SOURCE COMMAND...: runs an example, which must succeed and print what the head of its source says.

That is the block of lines after `// Prints:`, indented by four blanks. In it `…` stands for anything, and alone in a
line for any lines.
"""
import re
import subprocess
import sys


def promised(source):
    with open(source, encoding="utf-8") as file:
        block = re.search(r"^// Prints:\n((?://     .*\n)+)", file.read(), re.MULTILINE)
    return block and [line[len("//     "):] for line in block[1].splitlines()]


def main():
    source, *command = sys.argv[1:]
    expected = promised(source)
    if not expected:
        print(f"{source} does not say what it prints")
        return 1
    ran = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, encoding="utf-8")
    print(ran.stdout, end="")
    if ran.returncode:
        print(f"exit status {ran.returncode}")
        return 1
    pattern = "".join("(.*\n)*?" if line == "…" else re.escape(line).replace("…", ".+") + "\n" for line in expected)
    if not re.fullmatch(pattern, ran.stdout):
        print("instead of:", *expected, sep="\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
