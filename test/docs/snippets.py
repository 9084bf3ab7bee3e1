#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The code blocks of a Markdown page, as files that a C++ program includes.

snippets.py PAGE.md HARNESS.cpp FOLDER (named after the page) writes FOLDER/NAME.inc for each block of C++, and FOLDER/NAME.out for each
block of output (```output). NAME is the GitHub fragment of the heading above the block; from the second block of that kind under one
heading on, -2, -3 and so on are added. It fails if the harness does not name each of them, or say why not in a comment:

    // not compiled here: NAME: reason
"""
import re
import sys
from pathlib import Path

KINDS = {"cpp": ".inc", "output": ".out"}


def blocks(text):
    """(language, name, line number, text) of each fenced block."""
    heading, fence, counts = "", None, {}
    for number, line in enumerate(text.splitlines(), 1):
        if fence is None:
            if match := re.match(r"#+ +(.*)", line):
                heading = re.sub(r"[^\w\- ]", "", match[1].strip().lower()).replace(" ", "-")
            elif match := re.match(r"```(\w*)", line):
                language, first, fence = match[1], number + 1, []
        elif line.startswith("```"):
            count = counts[language, heading] = counts.get((language, heading), 0) + 1
            yield language, heading + (f"-{count}" if count > 1 else ""), first, "\n".join(fence) + "\n"
            fence = None
        else:
            fence.append(line)
    if fence is not None:
        sys.exit("a code block is not closed")


def main(page, harness, folder):
    page, harness, folder = Path(page), Path(harness), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    code = harness.read_text(encoding="utf-8")
    used = set(re.findall(r'"[\w-]+/([^"/]+\.(?:inc|out))"', code))
    excused = {name + kind for name in re.findall(r"// not compiled here: ([\w-]+): \S", code) for kind in KINDS.values()}
    written = set()
    for language, name, line, text in blocks(page.read_text(encoding="utf-8")):
        if language not in KINDS:
            continue
        name += KINDS[language]
        written.add(name)
        if language == "cpp":
            text = f'#line {line} "{page.resolve()}"\n{text}'
        file = folder / name
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
    for name in sorted(written - used - excused):
        print(f"{page}: nobody looks at the block {name}: {harness} must use it")
    for name in sorted(used - written):
        print(f"{harness}: {page} has no block {name}")
    return used == written - excused


if __name__ == "__main__":
    sys.exit(not main(*sys.argv[1:]))
