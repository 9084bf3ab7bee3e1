#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The site that scripts/docs has built, in headless Chromium: words are found, and every page fits a phone.

    site.py build/site [--pictures FOLDER]
"""
import argparse
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "demo"))
from browser import Browser  # noqa: E402: it is found by the line above
from faults import Wrong, check, wait_until  # noqa: E402: the same

# What people look for, and a page that must be among the first three.
WORDS = {
    "shutdown": "shutdown.html",
    "stale": "cache.html",
    "redis": "cache.html",
    "wait_timeout": "classcacheflight_1_1run__options.html",
    "blocks the event loop": "where-not-to-block.html",
    "postgres cancel": "databases.html",
}
PAGES = "index.html", "cache.html", "install.html", "contract.html", "classcacheflight_1_1basic__group.html"


def expect_words(browser, site):
    for words, page in WORDS.items():
        browser.open(f"{site.as_uri()}/index.html")
        browser.run("document.querySelector('#find input').value = arguments[0];"
                    "document.querySelector('#find').requestSubmit()", words)
        links = wait_until(lambda: browser.run("return [...document.querySelectorAll('#found li a')].map(a => a.href)"),
                           f"something is found for {words!r}")
        first = [link.rpartition("/")[2].partition("#")[0] for link in links[:3]]
        check(page in first, f"{words!r} finds {first} first, and not {page}")
        print(f"{words}: {', '.join(first)}")


def expect_to_fit(browser, site, pictures):
    """Wide things scroll in themselves: no page is wider than the screen."""
    for name in PAGES:
        for width in 390, 1280:
            browser.resize(width)
            for scheme in "light", "dark":
                browser.prefer(scheme)
                browser.open(f"{site.as_uri()}/{name}")
                wide = browser.run("return document.querySelector('#doc-content').scrollWidth - innerWidth")
                check(wide <= 0, f"{name} is {wide} pixels wider than a screen of {width}")
                if pictures:
                    browser.take_picture(f"{pictures}/{pathlib.Path(name).stem}-{width}-{scheme}.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("site", type=lambda name: pathlib.Path(name).resolve())
    parser.add_argument("--pictures", metavar="FOLDER")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        browser = Browser(folder)
        try:
            expect_words(browser, arguments.site)
            expect_to_fit(browser, arguments.site, arguments.pictures)
        finally:
            browser.quit()


if __name__ == "__main__":
    try:
        main()
    except Wrong as wrong:
        sys.exit(f"site.py: {wrong}")
