#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The shell commands and the CMake code of all pages: what is cheap is run as written; who runs the others is said in ELSEWHERE, and a
command that is in neither is an error. Of our own scripts, wherever a page names one, it is checked that they know the arguments.

commands.py SOURCE DEMO_SERVER COMPILER
"""
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from snippets import blocks

# Whole blocks that are run: (page, language and name of the block), by one of the functions below, in this
# order.
RUN = {
    ("README.md", "bash", "install"): "install",
    ("docs/guides/install.md", "bash", "with-cmake"): "install",
    ("README.md", "cmake", "install"): "find_package",
    ("docs/guides/install.md", "cmake", "with-cmake"): "find_package",
    ("docs/guides/install.md", "cmake", "with-cmake-2"): "fetch_content",
    ("docs/guides/install.md", "bash", "without-cmake"): "pkg_config",
    ("docs/guides/install.md", "bash", "without-cmake-2"): "single_header",
    ("docs/guides/install.md", "bash", "a-debian-package"): "debian_package",
    ("docs/guides/quick-start.md", "bash", "from-an-empty-folder"): "empty_folder",
    ("docs/guides/quick-start.md", "cmake", "from-an-empty-folder"): None,  # a part of it
    ("docs/guides/plugins.md", "cmake", "a-whole-example"): "plugin",
    ("examples/README.md", "bash", "the-demo"): "curl",
}
# Lines that are not run here, and why not.
ELSEWHERE = {
    r"scripts/(test|demo|on-debian)( |$)": "minutes; CI runs them",
    r"scripts/docs( |$)": "installs packages; CI runs it",
    r"scripts/bench( |$)": "minutes, alone on the machine",
    r"(cmake|ctest) --.*preset gcc-debug": "what scripts/test does to build this",
    r"build/gcc-debug/test/contract ": "the tests themselves",
}
# What is built where a page does not say what.
PROGRAM = """#include <cacheflight/blocking.hpp>

int main() {
  cacheflight::group flights;
  return *flights.run("key", [] { return 0; });
}
"""


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

    def build(self, folder, commands, prepare=""):
        """A project of somebody's, with these commands in its CMakeLists.txt."""
        (folder := self.scratch / folder).mkdir(exist_ok=True)
        (folder / "main.cpp").write_text(PROGRAM, encoding="utf-8")
        (folder / "CMakeLists.txt").write_text("cmake_minimum_required(VERSION 3.25)\nproject(my_server CXX)\n"
                                               f"add_executable(my_server main.cpp)\n{commands}", encoding="utf-8")
        self.shell(folder, f"{prepare}\ncmake -S . -B build && cmake --build build && build/my_server")

    def find_package(self, commands, _page):
        self.build("find_package", commands)

    def fetch_content(self, commands, _page):
        archive = re.search(r"\$\{CMAKE_SOURCE_DIR\}/(\S+\.tar\.gz)", commands)[1]
        self.build("fetch_content", commands, f"mkdir -p $(dirname {archive})\n"
                   f"tar czhf {archive} -C {self.tree} CMakeLists.txt LICENSE cmake gdb include tools")

    def pkg_config(self, commands, _page):
        self.environment["PKG_CONFIG_PATH"] = str(next(self.root.rglob("cacheflight.pc")).parent)
        (folder := self.scratch / "pkg_config").mkdir()
        (folder / "main.cpp").write_text(PROGRAM, encoding="utf-8")
        self.shell(folder, f"{commands}./main")

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

    def plugin(self, commands, page):
        """The files of the page, a project around its CMake code, its output."""
        parts = {(language, name): text for language, name, _, text in page}
        (folder := self.scratch / "plugin").mkdir()
        for file, number in (("user.hpp", ""), ("plugin.cpp", "-2"), ("main.cpp", "-3")):
            (folder / file).write_text(parts["cpp", "a-whole-example" + number], encoding="utf-8")
        (folder / "CMakeLists.txt").write_text("cmake_minimum_required(VERSION 3.25)\nproject(my_server CXX)\n"
                                               f"find_package(cacheflight REQUIRED)\n{commands}", encoding="utf-8")
        self.shell(folder, "cmake -S . -B build && cmake --build build")
        printed = self.shell(folder, "build/my_server build/libmy_plugin.so")
        if printed != parts["output", "a-whole-example"]:
            sys.exit(f"the program should print\n{parts['output', 'a-whole-example']}and printed\n{printed}")

    def curl(self, commands, _page):
        """The server is started as `scripts/demo --serve` does, on a free port; slower, for a busy machine's curls."""
        with subprocess.Popen([self.server, "--port", "0", "--db-latency-ms", "4000"], cwd=self.scratch, text=True, stdout=subprocess.PIPE) as server:
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

    def check_scripts(self, files):
        """Our own scripts look at one argument after the other, and --help is the last: so the others are valid."""
        commands = set()
        for file in files:
            text = file.read_text(encoding="utf-8")
            commands |= set(re.findall(r"`((?:scripts|tools)/[^`\n]*)`", text))
            commands |= {line.split(" #")[0].strip() for language, _, _, block in blocks(text) if language == "bash"
                         for line in block.splitlines() if line.startswith("scripts/")}
        for command in sorted(commands):
            if re.search(r"\b[A-Z]+$", command):  # a placeholder
                continue
            command = re.sub(r"^scripts/on-debian \w+ (?=scripts/)", "", command)  # which runs that elsewhere
            if "usage" not in self.shell(self.tree, f"{command.split(' >')[0]} --help").lower():
                sys.exit(f"{command} --help prints no usage")
        return len(commands)

    def check(self):
        files = sorted({file for pages in ("*.md", "docs/**/*.md", "examples/**/*.md", "benchmarks/*.md")
                        for file in self.source.glob(pages)} - {self.source / "CHANGELOG.md"})
        print(f"{self.check_scripts(files)} ways to call our scripts", flush=True)
        wanted, unknown = [], []
        for file in files:
            page, of = list(blocks(file.read_text(encoding="utf-8"))), str(file.relative_to(self.source))
            for language, name, line, text in page:
                if language not in ("bash", "cmake"):
                    continue
                if (of, language, name) in RUN:
                    wanted.append((RUN[of, language, name], of, name, text, page))
                elif language == "cmake":
                    unknown.append(f"{of}:{line}: a block of CMake code")
                else:
                    unknown += [f"{of}:{line}: {command}" for command in text.splitlines()
                                if command.strip() and not any(re.match(known, command) for known in ELSEWHERE)]
        if unknown:
            sys.exit("\n".join(["in neither RUN nor ELSEWHERE:", *unknown]))
        if len(wanted) != len(RUN):
            sys.exit(f"only these blocks of RUN are there: {[(of, name) for _, of, name, _, _ in wanted]}")
        order = list(dict.fromkeys(RUN.values()))
        for how, of, name, text, page in sorted(wanted, key=lambda one: order.index(one[0])):
            if how:
                print(f"{of}, {name}", flush=True)
                getattr(self, how)(text, page)


if __name__ == "__main__":
    documentation = Documentation(Path(sys.argv[1]).resolve(), *sys.argv[2:])
    try:
        documentation.check()
    finally:
        subprocess.run(["rm", "-rf", documentation.scratch], check=True)
