#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes copies of the core's headers that contain all mutants and all seeded bugs, chosen at run time.

The syntax tree comes from clang (-ast-dump=json), so nothing but the compiler is needed. Each place becomes
`(mutant(n) ? mutated : original)`; the mutated side is the plain text, the original side holds the mutants within it.
Beside the headers stands mutants.json: number, file, line, function, original and mutated text.
"""

import argparse
import bisect
import json
import pathlib
import re
import subprocess
import sys

import seeded

FILES = [
    "detail/core.hpp",
    "detail/core/announcer.hpp",
    "detail/core/census.hpp",
    "detail/core/drains.hpp",
    "detail/core/outcall.hpp",
    "detail/core/shard.hpp",
    "detail/core/shards.hpp",
    "detail/core/steps.hpp",
    "detail/core/telling.hpp",
    "detail/core/timekeeping.hpp",
    "detail/countdown.hpp",
    "detail/flight.hpp",
    "detail/flight_table.hpp",
    "detail/flight_view.hpp",
    "detail/deadline_heap.hpp",
    "detail/list.hpp",
    "detail/key_binding.hpp",
    "detail/keyed_flight.hpp",
    "detail/launch.hpp",
    "detail/retired.hpp",
    "detail/short_mutex.hpp",
    "detail/thread_driver.hpp",
    "detail/turns.hpp",
    "detail/type_identity.hpp",
    "platform.hpp",
    "group.hpp",
    "statistics.hpp",
    "task_context.hpp",
]
# Seeded bugs only.
NOT_MUTATED = ["detail/work.hpp"]

SWITCH = "cacheflight_mutation::mutant"

SUPPORT = """// Which mutant is on: the number in the environment; 0 is the shipped code. Generated.
#pragma once
#include <atomic>
#include <cstdio>
#include <cstdlib>

namespace cacheflight_mutation {{

/// Where CACHEFLIGHT_REACHED names a file, the mutants that this run came across are written to it.
struct record {{
  std::atomic<bool> reached[{count} + 1]{{}};
  char const* const file = std::getenv("CACHEFLIGHT_REACHED");
  ~record() {{
    if (!file) return;
    std::FILE* const out = std::fopen(file, "w");
    for (int n = 1; n <= {count}; ++n)
      if (reached[n]) std::fprintf(out, "%d\\n", n);
    std::fclose(out);
  }}
}};
inline record recorded;
inline bool const recording = recorded.file != nullptr;
inline int const chosen = [] {{
  char const* const number = std::getenv("CACHEFLIGHT_MUTANT");
  return number ? std::atoi(number) : 0;
}}();

inline bool mutant(int n) noexcept {{
  if (recording) recorded.reached[n].store(true, std::memory_order_relaxed);
  return n == chosen;
}}

}}  // namespace cacheflight_mutation
"""

RELATIONAL = {
    "<": ["<=", ">="],
    "<=": ["<", ">"],
    ">": [">=", "<="],
    ">=": [">", "<"],
    "==": ["!="],
    "!=": ["=="],
}
ARITHMETIC = {
    "+": ["-"],
    "-": ["+"],
    "*": ["/"],
    "/": ["*"],
    "&": ["|"],
    "|": ["&"],
    "^": ["&"],
    "<<": [">>"],
    ">>": ["<<"],
}
COMPOUND = {"+=": "-=", "-=": "+=", "|=": "&=", "&=": "|=", "^=": "|="}
STEP = {"++": "--", "--": "++"}
# Not evaluated, or evaluated by the compiler.
UNEVALUATED = {
    "StaticAssertDecl",
    "TemplateArgument",
    "NonTypeTemplateParmDecl",
    "TemplateTypeParmDecl",
    "AlignedAttr",
    "UnaryExprOrTypeTraitExpr",
    "CXXNoexceptExpr",
    "RequiresExpr",
    "ConceptSpecializationExpr",
    "ConceptDecl",
    "EnumDecl",
    "FriendDecl",
    "TypeAliasDecl",
    "ClassTemplateSpecializationDecl",
}
# Numbers that depend on the machine: which mutants of them are equivalent does as well.
LEFT_OUT = {"std_platform::shards"}
# A moment of another clock than the platform's: in its place the other value would not compile.
LEFT_OUT |= {"core::as_steady"}
# What happens at a fork() has tests of its own, in other processes than the suites run here.
LEFT_OUT |= {"core::before_fork", "core::after_fork", "steps::forget", "outcall::forget_others", "deadline_heap::clear"}
LEFT_OUT |= {"drains::forget", "countdown::stop_watching", "countdown::under_way"}
LEFT_OUT |= {"thread_driver::before_fork", "thread_driver::after_fork"}
LEFT_OUT |= {f"fork_handler::{f}" for f in ("fork_handler", "~fork_handler", "before_fork", "after_fork")}
TIMES = re.compile(r"(?:P::)?clock::now\(\)|\(TimePoint::max\)\(\)|now$|seen\.until$")
# Names of what an expression statement may not consist of: a place to step, not an effect.
NO_EFFECT = re.compile(r"P::point\(|\(void\)")
# White space in a text that was escaped for a pattern.
BLANK = re.compile(r"(\\?\s)+")


class Edit:
    """A range of a file, and what stands there instead: `render(inner)` gets the range with the edits within it done."""

    def __init__(self, begin, end, rank, render):
        self.begin, self.end, self.rank, self.render = begin, end, rank, render


class File:
    def __init__(self, name, text):
        self.name, self.text, self.edits = name, text, []
        self.lines = [0] + [m.end() for m in re.finditer("\n", text)]

    def line(self, offset):
        return bisect.bisect_right(self.lines, offset)

    def rendered(self):
        edits = sorted(self.edits, key=lambda e: (e.begin, -e.end, e.rank))

        def render(begin, end, index):
            """The text [begin, end) with edits[index...] that lie within it; returns it and the next index."""
            out, at = [], begin
            while index < len(edits) and edits[index].begin < end:
                e = edits[index]
                if e.begin < at or e.end > end:
                    raise SystemExit(
                        f"{self.name}:{self.line(e.begin)}: overlapping edits at {self.text[e.begin:e.end]!r}"
                    )
                out.append(self.text[at : e.begin])
                inner, index = render(e.begin, e.end, index + 1)
                out.append(e.render(inner))
                at = e.end
            out.append(self.text[at:end])
            return "".join(out), index

        return render(0, len(self.text), 0)[0]


class Generator:
    def __init__(self, include, compiler):
        self.root = (pathlib.Path(include) / "cacheflight").resolve()
        self.files = {str(self.root / f): File(f, (self.root / f).read_text()) for f in FILES + NOT_MUTATED}
        self.mutants = []
        self.seen = set()
        self.enums = {}
        self.compiler, self.include = compiler, include

    # -- the syntax tree

    def tree(self):
        source = "".join(f"#include <cacheflight/{f}>\n" for f in FILES)
        command = [self.compiler, "-std=c++20", f"-I{self.include}", "-x", "c++", "-fsyntax-only"]
        command += ["-Xclang", "-ast-dump=json", "-Xclang", "-ast-dump-filter=cacheflight", "-"]
        text = subprocess.run(command, input=source, capture_output=True, text=True, check=True).stdout
        decoder, at = json.JSONDecoder(), 0
        while (at := text.find("{", at)) >= 0:
            document, at = decoder.raw_decode(text, at)
            self.note_files(document, [None])
            yield document

    def note_files(self, node, current):
        """The dump names a file only where it differs from the last one named."""
        if isinstance(node, list):
            for each in node:
                self.note_files(each, current)
        elif isinstance(node, dict):
            if "offset" in node:
                current[0] = node.get("file", current[0])
                node["file"] = current[0]
            for key, value in node.items():
                if key != "includedFrom" and isinstance(value, (dict, list)):
                    self.note_files(value, current)

    def place(self, node):
        """The file and range of a node; None if it is not written in one of ours."""
        r = node.get("range", {})
        begin, end = r.get("begin", {}), r.get("end", {})
        if "offset" not in begin or "offset" not in end or begin["file"] != end["file"]:
            return None
        path = begin["file"]
        if path not in self.files:
            path = str(pathlib.Path(path).resolve())
            if path not in self.files:
                return None
        if self.files[path].name in NOT_MUTATED:
            return None
        return self.files[path], begin["offset"], end["offset"] + end["tokLen"]

    def text(self, node):
        where = self.place(node)
        return where[0].text[where[1] : where[2]] if where else ""

    # -- mutants

    def number(self, file, begin, function, original, mutated, kind):
        squeeze = lambda s: re.sub(r"\s+", " ", s).strip()
        self.mutants.append(
            {
                "number": len(self.mutants) + 1,
                "kind": kind,
                "file": file.name,
                "line": file.line(begin),
                "function": function,
                "original": squeeze(original),
                "mutated": squeeze(mutated),
            }
        )
        return len(self.mutants)

    def replace(self, node, mutated, context, kind, rank, cast="{}"):
        """`(mutant(n) ? mutated : ... : original)` for each of the mutated texts."""
        where = self.place(node)
        if not where:
            return
        file, begin, end = where
        chain = ""
        for text in mutated:
            if (begin, end, file.name, text) in self.seen:
                continue
            self.seen.add((begin, end, file.name, text))
            n = self.number(file, begin, context["function"], file.text[begin:end], text, kind)
            chain += f"{SWITCH}({n}) ? {cast.format(text)} : "
        if chain:
            file.edits.append(Edit(begin, end, rank, lambda inner: f"({chain}{cast.format(inner)})"))

    def delete(self, node, context):
        """An expression used as a statement."""
        where = self.place(node)
        if not where or NO_EFFECT.match(self.text(node)) or ("delete", where[0].name, where[1]) in self.seen:
            return
        file, begin, end = where
        self.seen.add(("delete", file.name, begin))
        n = self.number(file, begin, context["function"], file.text[begin:end], "", "delete")
        # Not `? void() : void(...)`: clang 19 evaluates an operator delete in there whatever the condition
        # is.
        file.edits.append(Edit(begin, end, 0, lambda inner: f"void({SWITCH}({n}) || (void(({inner})), true))"))

    def delete_jump(self, node, context):
        where = self.place(node)
        if not where or ("delete", where[0].name, where[1]) in self.seen:
            return
        file, begin, end = where
        self.seen.add(("delete", file.name, begin))
        end = file.text.index(";", end) + 1
        n = self.number(file, begin, context["function"], file.text[begin : end - 1], "", "delete")
        file.edits.append(Edit(begin, end, 0, lambda inner: f"{{ if (!{SWITCH}({n})) {inner} }}"))

    def is_forced(self, node):
        where = self.place(node)
        return where and (where[1], where[2], where[0].name, "false") in self.seen

    def condition(self, node, context, both=True):
        self.replace(node, ["true", "false"] if both else ["false"], context, "condition", 1, "bool({})")

    # -- the walk

    def visit(self, node, context):
        kind = node.get("kind")
        if not kind or kind in UNEVALUATED or node.get("isImplicit"):
            return
        inner = node.get("inner", [])
        if kind in ("FunctionDecl", "CXXMethodDecl", "CXXConstructorDecl", "CXXDestructorDecl"):
            return self.visit_function(node, context)
        if kind in ("FunctionTemplateDecl", "ClassTemplateDecl"):  # the pattern, not what is made of it
            for child in inner:
                if child.get("kind") in ("FunctionDecl", "CXXMethodDecl", "CXXConstructorDecl", "CXXRecordDecl"):
                    return self.visit(child, context)
            return
        if kind == "CXXRecordDecl" and node.get("name"):
            context = {**context, "class": node["name"], "function": node["name"]}
        elif kind == "VarDecl":
            if node.get("constexpr") or "constinit" in self.text(node):
                return
            if context.get("class") and context["function"] == context["class"]:
                context = {**context, "function": f"{context['class']}::{node['name']}"}
        elif kind == "FieldDecl":
            context = {**context, "function": f"{context.get('class', '')}::{node.get('name', '')}"}
        elif kind == "CallExpr" and self.text(node).startswith("P::point("):
            return
        elif kind == "CXXRewrittenBinaryOperator":  # a != b written as !(a == b)
            return self.visit_rewritten(node, context)
        method = getattr(self, "on_" + kind, None)
        if method and not node.get("isConstexpr"):
            method(node, inner, context)
        if kind == "LambdaExpr":
            # The body is there twice: in the call operator and by itself.
            captures = [n for n in inner if n.get("kind") not in ("CXXRecordDecl",)]
            for child in captures:
                self.visit(child, {**context, "returns": None})
            return
        if kind == "CaseStmt":
            inner = inner[1:]
        elif kind == "IfStmt" and node.get("isConstexpr"):
            self.statements(inner[1:], context)
            inner = inner[1:]
        for child in inner:
            self.visit(child, context)

    def visit_rewritten(self, node, context):
        while node.get("inner"):
            inner = node["inner"]
            if node["kind"] == "CXXOperatorCallExpr" and len(inner) == 3:
                left, right = self.place(inner[1]), self.place(inner[2])
                if left and right and left[2] <= right[1]:
                    operator = left[0].text[left[2] : right[1]].strip()
                    self.binary({"range": {"begin": inner[1]["range"]["begin"], "end": inner[2]["range"]["end"]}},
                                inner[1], inner[2], operator, context)
                    for operand in inner[1:]:
                        self.visit(operand, context)
                    return
            node = inner[1] if len(inner) == 3 else inner[0]

    def visit_function(self, node, context):
        if f"{context.get('class')}::{node['name']}" in LEFT_OUT:
            return
        if not any(c.get("kind") in ("CompoundStmt", "CXXTryStmt") for c in node.get("inner", [])):
            return
        where = self.place(node)
        if not where:
            return
        file, begin, end = where
        if node.get("constexpr") and (m := re.match(r"[^({]*?\bconstexpr\b", file.text[begin:end])):
            at = begin + m.end()
            file.edits.append(Edit(at - len("constexpr"), at, 0, lambda inner: "inline"))
        owner = context.get("class")
        name = f"{owner}::{node['name']}" if owner else node["name"]
        returns = node["type"]["qualType"].split(" (")[0].split("(")[0].strip()
        if node["kind"] in ("CXXConstructorDecl", "CXXDestructorDecl"):
            returns = "void"
        body = node["inner"][-1]
        last = body["inner"][-1].get("id") if body.get("kind") == "CompoundStmt" and body.get("inner") else None
        for child in node["inner"]:
            if child.get("kind") != "ParmVarDecl":
                self.visit(child, {**context, "function": name, "returns": returns, "last": last})

    # statements

    def statements(self, children, context):
        for child in children:
            kind = child.get("kind", "")
            if self.text(child).startswith("throw"):
                if child.get("id") != context.get("last") or context.get("returns") == "void":
                    self.delete_jump(child, context)
            elif kind.endswith("Expr") or kind.endswith("Operator") or kind == "ExprWithCleanups":
                self.delete(child, context)
            elif kind in ("BreakStmt", "ContinueStmt") or (kind == "ReturnStmt" and not child.get("inner")):
                self.delete_jump(child, context)

    def on_CompoundStmt(self, node, inner, context):
        self.statements(inner, context)

    def on_CaseStmt(self, node, inner, context):
        self.statements(inner[1:], context)

    def on_DefaultStmt(self, node, inner, context):
        self.statements(inner, context)

    def on_IfStmt(self, node, inner, context):
        rest = inner[int(bool(node.get("hasInit"))) :]
        if node.get("hasVar"):
            # `if (T* f = ...)`: the initializer.
            for var in rest[0].get("inner", []):
                if var.get("inner") and "*" in var["type"]["qualType"]:
                    self.replace(var["inner"][0], ["nullptr"], context, "condition", 1)
            rest = rest[1:]
        else:
            self.condition(rest[0], context)
        self.statements(rest[1:], context)

    def on_WhileStmt(self, node, inner, context):
        rest = inner[int(bool(node.get("hasVar"))) :]
        if not node.get("hasVar"):
            self.condition(rest[0], context, both=False)
        self.statements(rest[1:], context)

    def on_DoStmt(self, node, inner, context):
        self.condition(inner[1], context, both=False)
        self.statements(inner[:1], context)

    def on_ForStmt(self, node, inner, context):
        if inner[2].get("kind"):
            self.condition(inner[2], context, both=False)
        self.statements(inner[4:], context)

    def on_ConditionalOperator(self, node, inner, context):
        self.condition(inner[0], context)

    def on_ReturnStmt(self, node, inner, context):
        if not inner:
            return
        returns = context.get("returns")
        if returns == "bool":
            if inner[0].get("kind") != "CXXBoolLiteralExpr":
                self.replace(inner[0], ["true", "false"], context, "return", 1, "bool({})")
        elif returns == "void":
            self.delete(inner[0], context)
        elif returns and returns.endswith("*") and self.text(inner[0]) != "nullptr":
            self.replace(inner[0], ["nullptr"], context, "return", 1)
        elif returns and returns.endswith("time_point") and self.text(inner[0]) != "(time_point::max)()":
            self.replace(inner[0], ["(time_point::max)()"], context, "return", 1)

    # expressions

    def binary(self, node, left, right, operator, context):
        a, b = self.text(left), self.text(right)
        if operator in RELATIONAL:
            # Where the whole is forced to true and to false besides, its negation shows nothing more.
            others = RELATIONAL[operator]
            others = others[:-1] if self.is_forced(node) else others
            self.replace(node, [f"{a} {o} {b}" for o in others], context, "relational", 2, "bool({})")
        elif operator == "-" and TIMES.match(a):
            return  # the sum of two points in time means nothing
        elif operator in ARITHMETIC:
            self.replace(node, [f"({a} {o} {b})" for o in ARITHMETIC[operator]], context, "arithmetic", 2)
        elif operator in ("&&", "||"):
            self.replace(node, [a, b], context, "logical", 2, "bool({})")
        elif operator in COMPOUND:
            self.replace(node, [f"({a} {COMPOUND[operator]} {b})"], context, "arithmetic", 2)
        elif operator == ",":
            self.delete(left, context)
            self.delete(right, context)

    def on_BinaryOperator(self, node, inner, context):
        self.binary(node, inner[0], inner[1], node["opcode"], context)

    on_CompoundAssignOperator = on_BinaryOperator

    def on_CXXOperatorCallExpr(self, node, inner, context):
        if len(inner) != 3:
            return
        left, right = self.place(inner[1]), self.place(inner[2])
        if left and right and left[2] <= right[1]:
            self.binary(node, inner[1], inner[2], left[0].text[left[2] : right[1]].strip(), context)

    def on_UnaryOperator(self, node, inner, context):
        operator = node["opcode"]
        if operator in STEP and not node.get("isPostfix"):
            self.replace(node, [STEP[operator] + self.text(inner[0])], context, "arithmetic", 2)
        elif operator == "!" and not self.is_forced(node):
            self.replace(node, [self.text(inner[0])], context, "logical", 2, "bool({})")

    def on_CXXBoolLiteralExpr(self, node, inner, context):
        self.replace(node, ["false" if self.text(node) == "true" else "true"], context, "constant", 2)

    def on_IntegerLiteral(self, node, inner, context):
        text = self.text(node)
        if not re.fullmatch(r"\d+", text):
            return
        others = [str(int(text) + 1)]
        if int(text) > 1:
            others.append(str(int(text) - 1))
        self.replace(node, others, context, "constant", 2)

    def on_DeclRefExpr(self, node, inner, context):
        decl = node.get("referencedDecl", {})
        if decl.get("kind") != "EnumConstantDecl" or decl["id"] not in self.enums:
            return
        name, before = self.enums[decl["id"]]
        text = self.text(node)
        if text.endswith(name):
            self.replace(node, [text[: -len(name)] + before], context, "constant", 2)

    def on_CallExpr(self, node, inner, context):
        text = self.text(node)
        if m := re.match(r"std::exchange\((.*?), ", text):
            self.replace(node, [m[1]], context, "exchange", 2)
        where = self.place(node)
        callee = self.place(inner[0]) if inner else None
        if callee and where:
            file, begin, end = callee
            name = file.text[begin:end]
            for one, other in (("fetch_add", "fetch_sub"), ("fetch_sub", "fetch_add")):
                if name.endswith("." + one):
                    rest = file.text[end : where[2]]
                    self.replace(node, [name[: -len(one)] + other + rest], context, "arithmetic", 2)

    on_CXXMemberCallExpr = on_CallExpr

    # -- enumerators

    def note_enums(self, node):
        if node.get("kind") == "EnumDecl":
            constants = [c for c in node.get("inner", []) if c.get("kind") == "EnumConstantDecl"]
            for i, c in enumerate(constants):
                self.enums[c["id"]] = (c["name"], constants[i - 1]["name"])
        for child in node.get("inner", []):
            self.note_enums(child)

    # -- seeded bugs

    def find(self, bug, name, text):
        """Where the text stands: in the file of this name, or in one in the folder of this name; however it is wrapped."""
        before, part, after = re.split("[«»]", text) if "«" in text else ("", text, "")
        pattern = "".join("(" + BLANK.sub(r"\\s+", re.escape(piece)) + ")" for piece in (before, part, after))
        parts = [f for f in self.files.values() if f.name == name or f.name.startswith((f"{name}.", f"{name}/"))]
        found = [(f, m) for f in parts for m in re.finditer(pattern, f.text)]
        if len(found) != 1:
            raise SystemExit(f"seeded bug {bug.name}: this stands {len(found)} times in {name}, not once:\n{text}")
        return found[0][0], found[0][1].span(2)

    def seed(self, bug):
        for i, (name, old, new) in enumerate(bug.edits):
            file, (begin, end) = self.find(bug, name, old)
            if i == 0:
                n = self.number(file, 0, bug.name, "", bug.mistake, "seeded")
                self.mutants[-1]["by_schedule"] = bug.by_schedule
                self.mutants[-1]["line"] = file.line(begin)
            if new.count("$OLD") != 1 and "BUG" in new:
                raise SystemExit(f"seeded bug {bug.name}: $OLD must stand in it once:\n{new}")
            if "BUG" in new and ";" not in file.text[begin:end] + new:
                new = f"({new})"
            switched = new.replace("BUG", f"{SWITCH}({n})")
            file.edits.append(Edit(begin, end, -1, lambda inner, s=switched: s.replace("$OLD", inner)))

    def run(self, out):
        documents = list(self.tree())
        for d in documents:
            self.note_enums(d)
        for bug in seeded.BUGS:
            self.seed(bug)
        for d in documents:
            self.visit(d, {"function": "", "class": ""})
        target = pathlib.Path(out) / "cacheflight"
        for file in self.files.values():
            path = target / file.name
            path.parent.mkdir(parents=True, exist_ok=True)
            text = file.rendered().replace("#pragma once", "#pragma once\n#include <cacheflight/mutation.hpp>", 1)
            write(path, text)
        write(target / "mutation.hpp", SUPPORT.format(count=len(self.mutants)))
        write(pathlib.Path(out) / "mutants.json", json.dumps(self.mutants, indent=1) + "\n")


def write(path, text):
    """Only where it differs, so that nothing is compiled again for nothing."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--include", required=True, help="the folder of the shipped headers")
    parser.add_argument("--out", required=True, help="where the copies go: an include path to put first")
    parser.add_argument("--compiler", default="clang++-19")
    arguments = parser.parse_args()
    generator = Generator(arguments.include, arguments.compiler)
    generator.run(arguments.out)
    kinds = {}
    for m in generator.mutants:
        kinds[m["kind"]] = kinds.get(m["kind"], 0) + 1
    print(f"{len(generator.mutants)} mutants:", ", ".join(f"{n} {k}" for k, n in sorted(kinds.items())))


if __name__ == "__main__":
    sys.exit(main())
