#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The parts of scripts/docs that are not a command line: see there."""
import html
import html.parser
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import urllib.parse
import xml.etree.ElementTree
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(r"^\s*(```|~~~)")


def slug(heading):
    """The fragment that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def page_of(path):
    """The name of a Markdown file's page in the site: contract for docs/contract.md, examples for examples/README.md."""
    if path == Path("README.md"):
        return "index"
    return path.parent.name if path.stem == "README" else path.stem.lower()


# ---- what doxygen gets to see of a file ----


def filter_header(text):
    """Without the inline namespace and visibility, and without what specialises another library's template for our details, whose scope doxygen
    does not find; a comment at the head of a header is about the header."""
    text = text.replace("namespace cacheflight::inline v1", "namespace cacheflight").replace(" CACHEFLIGHT_VISIBLE ", " ")
    text = re.sub(r"^(?:///.*\n)*template <.*\nstruct cacheflight::detail::(?:.*\n)*?};\n", lambda match: "\n" * match[0].count("\n"), text,
                  flags=re.MULTILINE)
    return re.sub(r"(#pragma once\n)\n(?=///)", r"\1/// @file\n", text, count=1)


def filter_page(text, path):
    """Headings get the fragments that they have on GitHub; links point to where the site has their target."""
    page = page_of(path)

    def link(match):
        target, _, fragment = match[2].partition("#")
        if re.match(r"[a-z]+:", target):
            return match[0]
        if not target:
            return f"{match[1]}({page}.html#{page}-{fragment})"
        file = Path(os.path.normpath(path.parent / target))
        if file.suffix == ".md":
            name = page_of(file)
            return f"{match[1]}({name}.html{f'#{name}-{fragment}' if fragment else ''})"
        return f"{match[1]}(files/{file})"

    pieces, fenced, first = [[]], False, True  # prose and code in turns
    for line in text.splitlines():
        if FENCE.match(line):
            fenced = not fenced
            pieces.append([])
        elif not fenced and (heading := re.match(r"(#+) +(.*)", line)):
            label = f"{page}-{slug(heading[2])}" if not first else "mainpage" if page == "index" else page
            line, first = f"{line} {{#{label}}}", False
        pieces[-1].append(line)
    texts = ["\n".join(lines) for lines in pieces]
    texts[::2] = [re.sub(r"(\[[^\]]*\])\(([^)\s]+)\)", link, text) for text in texts[::2]]
    return "\n".join(texts) + "\n"


def prepare(folder):
    """A copy of what doxygen reads, as it is to see it."""
    for path in [*ROOT.glob("*.md"), *ROOT.glob("*/README.md"), *ROOT.glob("docs/**/*"), *ROOT.glob("include/**/*.hpp")]:
        if not path.is_file():
            continue
        path, copy = path.relative_to(ROOT), Path(folder, path.relative_to(ROOT))
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix not in (".hpp", ".md"):
            copy.write_bytes((ROOT / path).read_bytes())
            continue
        text = (ROOT / path).read_text(encoding="utf-8")
        copy.write_text(filter_header(text) if path.suffix == ".hpp" else filter_page(text, path), encoding="utf-8")


# ---- public symbols ----


def undocumented_in(compound):
    """The public symbols of a class, concept, namespace or file that have no documentation."""
    def lacks(node):
        return not "".join("".join(part.itertext()) for tag in ("briefdescription", "detaileddescription") for part in node.findall(tag)).strip()

    kind, name = compound.get("kind"), compound.findtext("compoundname")
    if compound.get("prot") == "private":
        return
    if kind in ("class", "struct", "union", "concept", "namespace"):
        if lacks(compound):
            yield name, compound.find("location")
        name += "::"
    elif kind == "file":
        name = ""
    else:
        return
    for member in compound.iter("memberdef"):
        arguments = member.findtext("argsstring") or ""
        if member.get("prot") == "private" or member.get("kind") == "friend" or arguments.endswith(("=default", "=delete")):
            continue
        if "~" in member.findtext("name"):  # that it destroys goes without saying
            continue
        if kind == "file" and member.get("kind") != "define":  # else it is a namespace's
            continue
        for node in [member, *member.findall("enumvalue")]:
            if lacks(node):
                yield name + node.findtext("name"), member.find("location")


def symbols(folder):
    seen, undocumented = 0, set()
    for file in sorted(Path(folder).glob("*.xml")):
        for compound in xml.etree.ElementTree.parse(file).getroot().iter("compounddef"):
            location = compound.find("location")
            if location is None or not location.get("file", "").endswith(".hpp"):
                continue
            seen += 1
            undocumented |= {(where.get("file"), int(where.get("line", 0)), name) for name, where in undocumented_in(compound)
                             if not (compound.get("kind") == "file" and "/detail/" in where.get("file"))}
    for file, line, name in sorted(undocumented):
        print(f"{file}:{line}: {name} is not documented")
    print(f"{seen} classes, namespaces and headers, {len(undocumented)} public symbols without documentation")
    return not undocumented and seen > 0


# ---- links ----


class Page(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.links, self.names = [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name in ("href", "src") and value:
                self.links.append(value)
            elif name in ("id", "name") and value:
                self.names.add(value)


def copy_linked_files(site):
    """What the pages link to and is no page, such as an example's source."""
    for page in site.glob("*.html"):
        for link in set(re.findall(r'(?:href|src)="files/([^"#]+)"', page.read_text(encoding="utf-8"))):
            source, target = ROOT / link, site / "files" / link
            if source.is_dir():
                target = target / "index.html"
                target.parent.mkdir(parents=True, exist_ok=True)
                rows = "".join(f'<li><a href="{f.name}">{f.name}</a></li>' for f in sorted(source.iterdir()) if f.is_file())
                target.write_text(f"<!doctype html><title>{link}</title><h1>{link}</h1><ul>{rows}</ul>", encoding="utf-8")
                for file in source.iterdir():
                    if file.is_file():
                        (target.parent / file.name).write_bytes(file.read_bytes())
            elif source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(source.read_bytes())


def check_links(site):
    """Names each link of the site whose target does not exist; returns how many there are, and how many were looked at."""
    pages = {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    dead, seen = 0, 0
    for path, page in sorted(pages.items()):
        if path.is_relative_to(site / "files") and path.name != "index.html":
            continue  # a file of the project, say the demo's page, whose links are those of its own server
        for link in page.links:
            url = urllib.parse.urlsplit(link)
            if url.scheme or url.netloc:
                continue
            seen += 1
            target = path.parent / urllib.parse.unquote(url.path) if url.path else path
            target = Path(os.path.normpath(target))
            if target.is_dir():
                target = target / "index.html"
            fragment = urllib.parse.unquote(url.fragment)
            if not target.is_file():
                print(f"{path.relative_to(site)}: {link}: there is no {target.relative_to(site)}")
            elif fragment and target in pages and fragment not in pages[target].names:
                print(f"{path.relative_to(site)}: {link}: {target.relative_to(site)} has no #{fragment}")
            else:
                continue
            dead += 1
    return dead, seen


def links(site):
    site = Path(site).resolve()
    copy_linked_files(site)
    dead, seen = check_links(site)
    print(f"{seen} internal links, {dead} dead")
    return dead == 0 and seen > 0


# ---- search ----


class Sections(html.parser.HTMLParser):
    """The text of a page by its headings, each with its fragment."""

    def __init__(self, text):
        super().__init__()
        self.sections, self.depth, self.heading, self.skipped = [], 0, None, 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        classes = (attributes.get("class") or "").split()
        if tag == "div":
            if self.depth:
                self.depth += 1
            elif "contents" in classes or "headertitle" in classes:
                self.depth = 1
        if not self.depth:
            return
        if re.fullmatch("h[1-6]", tag) or (tag == "div" and "title" in classes):
            self.sections.append({"fragment": attributes.get("id") or "", "title": "", "text": ""})
            self.heading = tag
        elif self.heading and tag == "a":
            href = attributes.get("href") or ""
            self.sections[-1]["fragment"] = attributes.get("id") or (href[1:] if href.startswith("#") else "") or self.sections[-1]["fragment"]
        if tag in ("span", "script", "style") and (self.skipped or tag != "span" or "permalink" in classes):
            self.skipped += 1

    def handle_endtag(self, tag):
        if self.depth and tag == "div":
            self.depth -= 1
        if tag == self.heading:
            self.heading = None
        if self.skipped and tag in ("span", "script", "style"):
            self.skipped -= 1

    def handle_data(self, data):
        if self.depth and self.sections and not self.skipped:
            self.sections[-1]["title" if self.heading else "text"] += data


def rename_group(site):
    """People look for `group`; doxygen calls it after the template that it is one of."""
    for path in site.glob("*.html"):
        text = path.read_text(encoding="utf-8")
        text = re.sub(r"(?:cacheflight::|CacheFlight: cacheflight::)?basic_group(?:&lt; Key, Hash, Equal, Platform &gt;| *< Key, Hash, Equal, Platform >)? Class Template Reference",
                      "group, and basic_group for keys of other types", text)
        path.write_text(text, encoding="utf-8")


def search(site, lunr):
    """Gives every page a field for words, and find.html what it needs to find them."""
    site = Path(site)
    rename_group(site)
    field = ('<form id="find" role="search" action="find.html"><input type="search" name="q" placeholder="Search all pages" '
             'aria-label="Search all pages"/></form>\n')
    found = []
    for path in sorted(site.glob("*.html")):
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace("<!-- end header part -->", field + "<!-- end header part -->", 1), encoding="utf-8")
        if re.search(r"_source$|-members$|^(dir_|usergroup)|^(find|annotated|hierarchy|files|namespaces|concepts|pages)$", path.stem):
            continue
        name = re.search(r"<title>(?:CacheFlight: )?(.*?)</title>", text)[1]
        name = html.unescape(re.sub(r"^cacheflight::|( Class| Struct)? (Template )?Reference$", "", name))
        for section in Sections(text).sections:
            words = " ".join(section["text"].split())
            title = " ".join(section["title"].split()) or name
            if words:
                url = path.name + (f"#{section['fragment']}" if section["fragment"] else "")
                found.append({"page": name, "title": title, "url": url, "text": words})
    (site / "sections.js").write_text(f"const sections = {json.dumps(found, ensure_ascii=False)};\n", encoding="utf-8")
    for file in (Path(lunr), ROOT / "docs/find.js"):
        (site / file.name).write_bytes(file.read_bytes())
    page = site / "find.html"
    scripts = "".join(f'<script src="{name}"></script>\n' for name in (Path(lunr).name, "sections.js", "find.js"))
    page.write_text(page.read_text(encoding="utf-8").replace("</body>", scripts + "</body>"), encoding="utf-8")
    print(f"{len(found)} sections can be searched")
    return len(found) > 0


# ---- compile times ----

COMPILERS = ["g++", "clang++-19"]


def foreign_headers(header):
    """The headers of others that one of ours includes, directly or through others of ours."""
    foreign, seen, todo = set(), set(), [header]
    while todo:
        text = (ROOT / "include" / todo.pop()).read_text(encoding="utf-8")
        for name in re.findall(r"^\s*#\s*include <([^>]+)>", text, re.MULTILINE):
            if not name.startswith("cacheflight/"):
                foreign.add(name)
            elif name not in seen:
                seen.add(name)
                todo.append(name)
    return sorted(foreign)


def seconds_of(compiler, includes, rounds):
    """The least CPU seconds of some compilations of a file that includes these and nothing else."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "file.cpp")
        source.write_text("".join(f"#include <{header}>\n" for header in includes), encoding="utf-8")
        command = [compiler, "-std=c++20", "-O2", "-I", str(ROOT / "include"), "-c", str(source), "-o", os.devnull]
        times = []
        for _ in range(rounds):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(command, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            times.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
        return min(times)


def compile_times(rounds):
    public = sorted(p.name for p in (ROOT / "include/cacheflight").glob("*.hpp"))
    rows = [("the standard headers that `cacheflight.hpp` includes, alone", foreign_headers("cacheflight/cacheflight.hpp"))]
    rows += [(f"`cacheflight/{name}`", [f"cacheflight/{name}"]) for name in public]
    # Standalone Asio's are not installed, and would be too old.
    boost = [name for name in foreign_headers("cacheflight/asio.hpp") if not name.startswith("asio")]
    rows += [("the headers of others that `asio.hpp` includes, alone", boost),
             ("all of `boost/asio.hpp`, for comparison", ["boost/asio.hpp"])]
    print(f"| seconds of CPU time | {' | '.join(COMPILERS)} |")
    print("|---|" + "--:|" * len(COMPILERS))
    for name, includes in rows:
        cells = []
        for compiler in COMPILERS:
            try:
                cells.append(f"{seconds_of(compiler, includes, rounds):.2f}")
            except subprocess.CalledProcessError:  # an optional header whose library is not installed
                cells.append("–")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    if command == "prepare":
        prepare(*arguments)
    elif command == "symbols":
        sys.exit(not symbols(*arguments))
    elif command == "links":
        sys.exit(not links(*arguments))
    elif command == "search":
        sys.exit(not search(*arguments))
    elif command == "compile-times":
        compile_times(int(arguments[0]))
