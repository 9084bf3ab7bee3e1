#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs the suites on every mutant that generate.py made, the fastest suite first, until one fails.

A mutant is killed when a suite fails, crashes, hangs or computes for much too long. Fails if one survives that is not
listed in equivalents.txt, if one that is listed is killed, or if a listed one does not exist any more. Those that are
listed as "Only faults" are left to the suite of that name, and left out if it was not built.
"""

import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import re
import resource
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import zlib

HERE = pathlib.Path(__file__).parent
STILL = 0.5  # seconds without a thread that could run: it hangs; more if it is still for long without any mutant


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutants", required=True, help="mutants.json")
    parser.add_argument(
        "--suite", action="append", required=True, metavar="NAME=COMMAND", help="in the order in which they are tried"
    )
    parser.add_argument("--equivalents", default=str(HERE / "equivalents.txt"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--only", metavar="REGEX", help="mutants whose line in the table matches")
    parser.add_argument("--kind", help="only mutants of this kind, say seeded")
    parser.add_argument(
        "--all-suites", action="store_true", help="try the schedules on every mutant, not on the bugs that need them only"
    )
    parser.add_argument("--part", metavar="I/N", help="the I-th of N parts of the mutants, and all seeded bugs")
    parser.add_argument(
        "--rounds", type=int, default=3, help="how often a mutant is tried that is not listed (default 3: threads differ)"
    )
    parser.add_argument("--verbose", action="store_true", help="print each mutant with what killed it")
    return parser.parse_args(sys.argv[1:] + shlex.split(os.environ.get("CACHEFLIGHT_MUTATION_OPTIONS", "")))


def states_and_ticks(pid):
    """What the threads of a process, and of those that it has forked, do, and their processor time; None if it has gone."""
    try:
        states, ticks = set(), 0
        tasks = [pathlib.Path(f"/proc/{pid}/task/{task}") for task in os.listdir(f"/proc/{pid}/task")]
        for task in tasks:
            states.add((task / "stat").read_text().rpartition(") ")[2][0])
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    except OSError:
        return None
    for task in tasks:  # a death test waits for its child
        try:
            children = (task / "children").read_text().split()
        except OSError:
            continue
        for its in filter(None, map(states_and_ticks, children)):
            states |= its[0] - {"Z"}
            ticks += its[1]
    return states, ticks


class Suite:
    def __init__(self, text):
        self.name, _, command = text.partition("=")
        self.command = shlex.split(command)
        self.reached, self.limit = set(), 60.0  # seconds of processor time
        self.still, self.stillest = 10.0, 0.0

    def run(self, number, extra={}):
        """None if it passed, else why it failed; and the seconds it took."""
        environment = {**os.environ, "CACHEFLIGHT_MUTANT": str(number), **extra}
        options = environment.get("ASAN_OPTIONS", "")
        environment["ASAN_OPTIONS"] = options + ":symbolize=0:detect_leaks=1:handle_abort=0"
        started = time.monotonic()

        def limits():
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

        with tempfile.TemporaryFile() as out:
            process = subprocess.Popen(
                self.command, env=environment, stdout=out, stderr=subprocess.STDOUT, preexec_fn=limits,
                start_new_session=True,
            )
            why = self.wait(process)
            try:  # what it has forked, and a mutant lets compute for ever
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            if why is None:
                return None, time.monotonic() - started
            out.seek(max(0, out.seek(0, 2) - 200_000))
            text = out.read().decode(errors="replace")
        if violation := re.search(r"^VIOLATION: .*", text, re.M):  # of the schedule explorer
            return violation[0], time.monotonic() - started
        at = re.findall(r"^\[ RUN      \] (\S+)", text, re.M)
        leak = "LeakSanitizer" in text
        asan = re.search(r"AddressSanitizer: ([\w-]+)", text)
        if leak:
            return "leak", time.monotonic() - started
        what = why + (f", {asan[1]}" if asan else "")
        return f"{what} in {at[-1]}" if at else what, time.monotonic() - started

    def wait(self, process):
        ticks, since = -1, time.monotonic()
        pause = 0.002
        while True:
            try:
                process.wait(pause)
                break
            except subprocess.TimeoutExpired:
                pause = min(pause * 1.5, 0.1)
            now = states_and_ticks(process.pid)
            if now and now[1] > self.limit * os.sysconf("SC_CLK_TCK"):
                process.kill()
                process.wait()
                return "endless"
            if now and (now[1] != ticks or now[0] - {"S"}):
                ticks, since = now[1], time.monotonic()
                continue
            self.stillest = max(self.stillest, time.monotonic() - since)
            if time.monotonic() - since > self.still:
                process.kill()
                process.wait()
                return "hang"
        code = process.returncode
        if code == 0:
            return None
        return "failure" if code in (1, -signal.SIGTRAP, 2) else f"crash ({code})"

    def baseline(self):
        """Which mutants it comes across, and how long it may compute."""
        with tempfile.NamedTemporaryFile("r") as file:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            why, seconds = self.run(0, {"CACHEFLIGHT_REACHED": file.name})
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            if why:
                raise SystemExit(f"{self.name} fails without any mutant: {why}")
            self.reached = {int(line) for line in file.read().split()}
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        self.limit = 0.4 + 3 * cpu
        self.still = max(STILL, 2 * self.stillest)
        print(f"{self.name}: {seconds:.2f} s, comes across {len(self.reached)} mutants")


def key_of(m, seen):
    """What names a mutant whatever the line and the other mutants are."""
    key = f"{m['file']} {m['function']}: {m['original']} -> {m['mutated'] or '(deleted)'}"
    seen[key] += 1
    return key if seen[key] == 1 else f"{key} [{seen[key]}]"


def read_equivalents(path):
    """Lines of keys; the sentence that proves them is indented below."""
    listed = {}
    keys = []
    for line in pathlib.Path(path).read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if line[0] != " ":
            if keys and listed[keys[-1]]:
                keys = []
            keys.append(line.strip())
            listed[line.strip()] = ""
        else:
            for key in keys:
                listed[key] += line.strip() + " "
    without = [key for key, why in listed.items() if not why]
    if without:
        raise SystemExit("no proof given for: " + "; ".join(without))
    return listed


def main():
    options = arguments()
    mutants = json.loads(pathlib.Path(options.mutants).read_text())
    seen = collections.Counter()
    for m in mutants:
        m["key"] = key_of(m, seen)
    listed = read_equivalents(options.equivalents)
    stale = set(listed) - {m["key"] for m in mutants}
    only_faults = {key for key, why in listed.items() if why.startswith("Only faults")}
    listed = {key: why for key, why in listed.items() if key not in only_faults}
    suites = [suite for suite in map(Suite, options.suite) if suite.name != "faults" or os.path.exists(suite.command[0])]
    started = time.monotonic()
    for suite in suites:
        suite.baseline()

    chosen = mutants
    if not any(suite.name == "schedule" for suite in suites):
        needing = [m for m in mutants if m.get("by_schedule")]
        print(f"left out, because only the schedule explorer can show them: {len(needing)} seeded bugs")
        chosen = [m for m in mutants if not m.get("by_schedule")]
    if not any(suite.name == "faults" for suite in suites):
        needing = [m for m in chosen if m["key"] in only_faults]
        print(f"left out, because only memory that runs out can show them, and that suite was not built: {len(needing)} mutants")
        chosen = [m for m in chosen if m["key"] not in only_faults]
    if options.part:
        i, n = map(int, options.part.split("/"))
        # By its name, so that it is the same part whatever else changes.
        chosen = [m for m in chosen if m["kind"] == "seeded" or zlib.crc32(m["key"].encode()) % n == i % n]
    if options.kind:
        chosen = [m for m in chosen if m["kind"] == options.kind]
    if options.only:
        chosen = [m for m in chosen if re.search(options.only, m["key"])]

    def suites_for(m):
        if m.get("by_schedule"):
            return [s for s in suites if s.name == "schedule"]
        if m["key"] in only_faults:
            return [s for s in suites if s.name == "faults"]
        return [s for s in suites if s.name != "faults" and (options.all_suites or s.name != "schedule")]

    def kill(m):
        m["seconds"] = 0.0
        for _ in range(1 if m["key"] in listed else options.rounds):
            for suite in suites_for(m):
                if m["number"] in suite.reached:
                    why, seconds = suite.run(m["number"])
                    if why and m["key"] in listed:  # a machine that stood still looks like a test that hangs
                        why, seconds = suite.run(m["number"])
                    m["seconds"] += seconds
                    if why:
                        m["by"], m["why"] = suite.name, why
                        return m
        m["by"] = None
        m["reached"] = any(m["number"] in suite.reached for suite in suites_for(m))
        return m

    wrong, by, seeded = [], collections.Counter(), []
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for m in pool.map(kill, chosen):
            by[m["by"]] += 1
            if m["kind"] == "seeded":
                seeded.append(m)
            if options.verbose:
                print(f"{m['number']:5} {m['by'] or 'SURVIVED':10} {m.get('why', ''):60} {m['seconds']:.2f} s  {m['key']}")
            if listed.get(m["key"], "").startswith("Sometimes"):  # chance decides whether a test sees it
                continue
            if bool(m["by"]) == (m["key"] in listed):
                wrong.append(m)

    if seeded:
        print("\nseeded bugs:")
    for m in seeded:
        print(f"  {m['function']:45} {m['by'] or 'SURVIVED':10} {1000 * m['seconds']:6.0f} ms  {m.get('why', '')}")
    for m in wrong:
        if m["by"]:
            print(f"\nlisted as not to be killed, but killed by {m['by']}: {m['why']}\n{m['key']}")
        else:
            how = "survived" if m["reached"] else "never reached"
            print(f"\n{m['file']}:{m['line']}: {how}\n{m['key']}")
    if stale:
        print("\nlisted, but there is no such mutant any more:")
        for key in sorted(stale):
            print("  " + key)
    known = sum(listed.get(m["key"], "").startswith("Not equivalent") for m in chosen)
    proved = sum(m["key"] in listed for m in chosen) - known
    killed = ", ".join(f"{n} by {name}" for name, n in by.most_common() if name)
    print(
        f"\n{len(chosen)} of {len(mutants)} mutants: {len(chosen) - by[None]} killed ({killed}), "
        f"{by[None]} alive, of which {proved} are proved equivalent and {known} are known and not killed yet; "
        f"{time.monotonic() - started:.0f} s"
    )
    return 1 if wrong or stale else 0


if __name__ == "__main__":
    sys.exit(main())
