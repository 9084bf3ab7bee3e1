#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The shell commands of README.md, docs/guides and CONTRIBUTING.md: those that are cheap are run as written; who runs the others is said
in ELSEWHERE, and a command that is in neither is an error.

commands.py SOURCE DEMO_SERVER COMPILER
"""
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from snippets import blocks

# Whole blocks that are run: (page, name of the block), by one of the functions below.
RUN = {
    ("README.md", "install"): "install",
    ("docs/guides/install.md", "with-cmake"): "install",
    ("docs/guides/install.md", "without-cmake"): "pkg_config",
    ("docs/guides/install.md", "without-cmake-2"): "single_header",
    ("docs/guides/install.md", "a-debian-package"): "debian_package",
    ("docs/guides/quick-start.md", "from-an-empty-folder"): "empty_folder",
    ("README.md", "try-it-2"): "curl",
}
# Lines that are not run here, and why not.
ELSEWHERE = {
    r"scripts/(test|demo)( |$)": "minutes; CI runs them",
    r"scripts/docs( |$)": "installs packages; CI runs it",
    r"(cmake|ctest) --.*preset gcc-debug": "what scripts/test does to build this",
    r"build/gcc-debug/test/contract ": "the tests themselves",
}


class Documentation:
    def __init__(self, source, server, compiler):
        self.source, self.server = source, server
        self.scratch = Path(tempfile.mkdtemp(prefix="cacheflight-commands-"))
        self.root = self.scratch / "root"
        self.environment = dict(os.environ, DESTDIR=str(self.root), CXX=compiler, CMAKE_PREFIX_PATH=str(self.root / "usr/local"))
        # A tree with the sources and a build folder of its own.
        self.tree = self.scratch / "tree"
        self.tree.mkdir()
        for entry in source.iterdir():
            if entry.name not in ("build", ".git"):
                (self.tree / entry.name).symlink_to(entry)

    def shell(self, folder, commands):
        """Runs a block of shell, and returns what it printed."""
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", commands], cwd=folder, env=self.environment, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=240, check=False)
        if done.returncode != 0:
            sys.exit(f"failed with {done.returncode}:\n{commands}{done.stdout}")
        return done.stdout

    def install(self, commands, _page):
        if not self.root.exists():  # two pages say the same
            self.installed = commands
            self.shell(self.tree, commands)
        elif commands != self.installed:
            sys.exit("README.md and docs/guides/install.md install differently")

    def pkg_config(self, commands, _page):
        self.environment["PKG_CONFIG_PATH"] = str(next(self.root.rglob("cacheflight.pc")).parent)
        if "-I" not in (printed := self.shell(self.scratch, commands)):
            sys.exit(f"pkg-config printed {printed}")

    def single_header(self, commands, _page):
        self.shell(self.tree, commands)
        for header in re.findall(r"> (\S+)", commands):
            if "class basic_group" not in (self.tree / header).read_text(encoding="utf-8"):
                sys.exit(f"{header} has no group")

    def debian_package(self, commands, _page):
        self.shell(self.tree, commands)
        if len(list((self.tree / "build").glob("libcacheflight-dev_*.deb"))) != 1:
            sys.exit("not one package")

    def empty_folder(self, commands, page):
        """The files of the page, its commands, its output."""
        parts = {language: text for language, name, _, text in page if name == "from-an-empty-folder"}
        folder = self.scratch / "empty"
        folder.mkdir()
        (folder / "main.cpp").write_text(parts["cpp"], encoding="utf-8")
        (folder / "CMakeLists.txt").write_text(parts["cmake"], encoding="utf-8")
        printed = self.shell(folder, commands)
        if not printed.endswith("\n" + parts["output"]):
            sys.exit(f"the program should print\n{parts['output']}and the commands printed\n{printed}")

    def curl(self, commands, _page):
        """The server is started as `scripts/demo --serve` does, on a free port."""
        with subprocess.Popen([self.server, "--port", "0"], cwd=self.scratch, text=True, stdout=subprocess.PIPE) as server:
            try:
                for line in server.stdout:
                    if listening := re.match(r"listening on (http://\S+:\d+)", line):
                        break
                else:
                    sys.exit("the server did not start")
                printed = self.shell(self.scratch, commands.replace("http://localhost:8000", listening[1]))
            finally:
                server.terminate()
        expected = re.search(r'# ("total_db_calls":\d+)', commands)[1]
        if expected not in printed:
            sys.exit(f"{expected} expected, the commands printed\n{printed}")

    def check(self):
        files = [self.source / "README.md", *sorted(self.source.glob("docs/guides/*.md")), self.source / "CONTRIBUTING.md"]
        wanted, unknown = [], []
        for file in files:
            page, of = list(blocks(file.read_text(encoding="utf-8"))), str(file.relative_to(self.source))
            for language, name, line, text in page:
                if language != "bash":
                    continue
                if how := RUN.get((of, name)):
                    wanted.append((how, of, name, text, page))
                else:
                    unknown += [f"{of}:{line}: {command}" for command in text.splitlines()
                                if command.strip() and not any(re.match(known, command) for known in ELSEWHERE)]
        missing = set(RUN) - {(of, name) for _, of, name, _, _ in wanted}
        if unknown:
            sys.exit("\n".join(["in neither RUN nor ELSEWHERE:", *unknown]))
        if missing:
            sys.exit(f"no such blocks: {sorted(missing)}")
        order = list(dict.fromkeys(RUN.values()))
        for how, of, name, text, page in sorted(wanted, key=lambda one: order.index(one[0])):
            print(f"{of}, {name}", flush=True)
            getattr(self, how)(text, page)


if __name__ == "__main__":
    documentation = Documentation(Path(sys.argv[1]).resolve(), *sys.argv[2:])
    try:
        documentation.check()
    finally:
        subprocess.run(["rm", "-rf", documentation.scratch], check=True)
