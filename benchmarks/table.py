#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes the table, and the picture, of what the benchmarks print. See README.md.

usage: table.py [--machine FILE] [--plot FILE.svg] SAMPLES...
"""
import argparse
import html
import math
import statistics
import sys


class Row:
    def __init__(self, role, floor):
        self.role, self.floor = role, floor
        self.times, self.executions, self.calls = [], [], 0
        self.allocations = self.bytes = self.held = None

    @property
    def time(self):
        return statistics.median(self.times)

    @property
    def spread(self):
        """Half the distance between the quartiles, in per cent of the median."""
        if len(self.times) < 4:
            return 50 * (max(self.times) - min(self.times)) / self.time
        quarters = statistics.quantiles(self.times, n=4, method="inclusive")
        return 50 * (quarters[2] - quarters[0]) / self.time


def read(files):
    groups, original, wrong = {}, [], []
    for name in files:
        with open(name, encoding="utf-8") as lines:
            for line in lines:
                kind, *fields = line.rstrip("\n").split("\t")
                if kind == "row":
                    groups.setdefault(fields[0], {}).setdefault(fields[1], Row(*fields[2:4]))
                elif kind == "original":
                    original.append(fields)
                elif kind == "wrong":
                    wrong.append(": ".join(fields))
                elif kind in ("time", "heap", "peak"):
                    row = groups[fields[0]][fields[1]]
                    numbers = [float(f) for f in fields[2:]]
                    if kind == "time":
                        row.times.append(numbers[0])
                        row.calls = int(numbers[1])
                        row.executions.append(int(numbers[2]))
                    elif kind == "heap":
                        row.allocations, row.bytes = numbers
                    else:
                        row.held = numbers[0]
    for group in groups.values():
        for name in [name for name, row in group.items() if not row.times]:
            del group[name]
    return {name: group for name, group in groups.items() if group}, original, wrong


def best_peer(group):
    return min((row.time for row in group.values() if row.role == "peer"), default=None)


def number(value, digits=0):
    return "" if value is None else f"{value:,.{digits}f}"


def ratio(value, base):
    return f"{value / base:.2f}" if value is not None and base else ""


def markdown(header, lines):
    aligned = ["---" if i == 0 else "--:" for i in range(len(header))]
    for cells in [header, aligned, *lines]:
        print("| " + " | ".join(cells) + " |")
    print()


def tables(groups):
    header = ["", "ns per call", "±", "x floor", "x best peer", "allocations", "bytes", "held", "x floor", "executions"]
    for name, group in groups.items():
        peer = best_peer(group)
        alone = groups.get(name.replace("2 threads", "1 thread"), {}) if name.startswith("2 threads") else None
        lines = []
        for title, row in group.items():
            floor = group.get(row.floor)
            executions = statistics.median(row.executions)
            lines.append([
                f"**{title}**" if row.role == "ours" else title,
                number(row.time, 0 if row.time >= 100 else 1),
                f"{row.spread:.0f} %",
                ratio(row.time, floor and floor.time),
                ratio(row.time, peer),
                number(row.allocations, 2),
                number(row.bytes),
                number(row.held),
                ratio(row.held, floor and floor.held),
                f"{executions:,.0f} of {row.calls:,}",
            ] + ([] if alone is None else [ratio(alone[title].time if title in alone else None, row.time)]))
        print(f"### {name}\n")
        markdown(header if alone is None else [*header, "calls per second, x 1 thread"], lines)


def original_table(lines):
    print("### The original's four scenarios, a task of 40 ms\n")
    rows = [[what, front, used, f"{int(requests):,}", f"{int(executions):,}", wall, p50, p95, reduction + " %"]
            for front, used, what, requests, executions, wall, p50, p95, reduction in lines]
    markdown(["scenario", "front", "CacheFlight", "requests", "executions", "wall ms", "p50 ms", "p95 ms", "reduction"], rows)


def plot(groups, path):
    """Bars: times the floor, on a logarithmic scale."""
    colours = {"floor": "#8a8a8a", "ours": "#1f77b4", "peer": "#d9a441"}
    left, width, height, top = 430, 430, 16, 40
    parts, y, most = [], top, 100
    for name, group in groups.items():
        shown = [(title, row) for title, row in group.items() if row.floor in group]
        if not shown:
            continue
        parts.append(f'<text x="10" y="{y + 12}" font-weight="bold">{html.escape(name)}</text>')
        y += height + 4
        for title, row in shown:
            times = row.time / group[row.floor].time
            length = max(1, width * math.log10(max(times, 1)) / math.log10(most))
            parts.append(f'<text x="{left - 8}" y="{y + 12}" text-anchor="end">{html.escape(title)}</text>')
            parts.append(f'<rect x="{left}" y="{y + 2}" width="{min(length, width):.1f}" height="{height - 4}" '
                         f'fill="{colours[row.role]}"/>')
            parts.append(f'<text x="{left + min(length, width) + 6:.1f}" y="{y + 12}">{times:.2f} '
                         f'({row.time:,.0f} ns)</text>')
            y += height
        y += 8
    for times in (1, 1.5, 3, 10, 30, 100):
        x = left + width * math.log10(times) / math.log10(most)
        parts.insert(0, f'<line x1="{x:.1f}" y1="{top - 6}" x2="{x:.1f}" y2="{y}" stroke="#ddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{top - 12}" text-anchor="middle">{times:g} x floor</text>')
    with open(path, "w", encoding="utf-8") as out:
        out.write(f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 150}" height="{y + 10}" '
                  'font-family="sans-serif" font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n'
                  + "\n".join(parts) + "\n</svg>\n")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--machine")
    arguments.add_argument("--plot")
    arguments.add_argument("samples", nargs="+")
    chosen = arguments.parse_args()
    groups, original, wrong = read(chosen.samples)
    if chosen.machine:
        with open(chosen.machine, encoding="utf-8") as machine:
            print(machine.read())
    tables(groups)
    if original:
        original_table(original)
    if chosen.plot:
        plot(groups, chosen.plot)
    for line in wrong:
        print(f"WRONG: {line}")
    return 1 if wrong or not (groups or original) else 0


if __name__ == "__main__":
    sys.exit(main())
