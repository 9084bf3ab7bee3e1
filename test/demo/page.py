#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The demo's page in headless Chromium: the button is pressed, and the numbers must be the server's own."""
import argparse
import json
import os
import re
import sys
import tempfile
import time

from browser import Browser
from faults import Client, Server, Wrong, check, locked, wait_until

LATENCY = 1000  # ms of a query: long enough for a burst on a slow machine
TIMEOUT = 20_000  # ms of a flight
CALLS = 100
WIDTHS = 320, 390, 1280
NONE = "None. Each one is gone as soon as its query is answered."


def milliseconds(text):
    """Of `303 ms` or `1.05 s`."""
    found = re.fullmatch(r"(\d{1,3}) ms|(\d+\.\d\d) s", text)
    check(found, f"{text!r} is not a time")
    return int(found[1]) if found[1] else 1000 * float(found[2])


def expect_burst(server, browser):
    """The button fires two bursts, and the page shows what they cost."""
    before = server.stats()
    browser.click("#fire")
    browser.expect("#burst-state", "done")
    after = server.stats()
    gained = {name: after[name] - before[name] for name in ("total_db_calls", "misses", "hits")}
    check(gained == {"total_db_calls": CALLS + 1, "misses": 1, "hits": CALLS - 1}, f"the server's books say {gained}")
    for mode, executions in ("without", CALLS), ("with", 1):
        cells = browser.texts(f"#{mode} dd")
        check(cells[0] == str(executions), f"the page says {cells}")
        median, most = map(milliseconds, cells[1:])
        check(LATENCY <= median <= most < 10 * LATENCY, f"the latencies are {cells[1:]}")
    browser.expect("#story", f"{CALLS} callers: {CALLS} queries without, one query with.")
    # In all: one request, at the server's start, came before the page.
    for tile, value in ("requests", CALLS + 1), ("executions", 2), ("saved", CALLS - 1), ("direct", CALLS), ("waiters", 0):
        browser.expect("#" + tile, str(value))
    browser.expect("#window", f"Last 60 s: without, {CALLS} queries for {CALLS} requests; with, 1 for {CALLS}.")
    for kind, least in ("asked.without", 50), ("without:not(.asked)", 50), ("asked.with", 50), ("with:not(.asked)", 2):
        bars = browser.run("return [...document.querySelectorAll(arguments[0])].map(bar => bar.height.baseVal.value)",
                           f"#chart rect.{kind}")
        check(bars and max(bars) >= least, f"the chart's bars for {kind}: {bars}")
    for mode in "without", "with":
        painted = browser.run("""
            const stage = at('stage-' + arguments[0]);
            return stage.getContext('2d').getImageData(0, 0, stage.width, stage.height).data.some(part => part !== 0)""", mode)
        check(painted, f"nothing is painted in the lane {mode}")
    browser.expect("#latency", "1.00 s" if LATENCY == 1000 else f"{LATENCY} ms")


def expect_flights(server, browser, database, pictures):
    """A flight in progress is shown, its key is not; a second burst is refused."""
    browser.expect("#more", NONE)
    with locked(database):
        waiting = [client.ask("/user/7") for client in server.clients(12)]
        server.wait_for(waiters=12)
        waiting += [client.ask("/user/8") for client in server.clients(3)]
        browser.expect("#in-flight", "2")
        wait_until(lambda: browser.texts("#flights td:nth-child(2)") == ["12", "3"],  # the oldest first
                   lambda: f"the flights have 12 and 3 waiters, but they have {browser.texts('#flights td')}")
        keys = browser.texts("#flights td:first-child")
        check(all(re.fullmatch("[0-9a-f]{24}", key) for key in keys) and len(set(keys)) == 2, f"the keys are {keys}")
        for row in range(1, 3):
            age, left = map(milliseconds, browser.texts(f"#flights tr:nth-child({row}) td:nth-child(n+3)"))
            check(age > 0 and abs(age + left - TIMEOUT) < 20, f"{age} ms old with {left} ms left of {TIMEOUT}")
        check("user:" not in browser.run("return document.body.textContent"), "the page shows a key")
        expect_to_fit(browser, pictures)

        other = Client(server.port).ask("/burst/1?coalesce=0")
        server.wait_for(active_db_calls=3)
        browser.click("#fire")
        browser.expect("#burst-state", "not done: another burst is under way")
    server.collect(waiting + [other])
    for client in waiting + [other]:
        client.close()
    browser.expect("#more", NONE)
    check(browser.texts("#flights td") == [], "flights are shown that are over")


def luminance(colour):
    def linear(part):
        part = int(part) / 255
        return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
    red, green, blue = map(linear, re.findall(r"\d+", colour)[:3])
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def expect_to_fit(browser, pictures):
    """No sideways scrolling, light or dark text that can be read."""
    papers = []
    for scheme in "light", "dark":
        browser.prefer(scheme)
        for width in WIDTHS:
            browser.resize(width)
            inner, needed = browser.run("return [innerWidth, document.documentElement.scrollWidth]")
            check(inner == width and needed <= width, f"{needed} px are needed where there are {inner} of {width}")
        for selector, behind in (("p", "body"), (".soft", "section"), ("button", "button"), (".tiles b", ".tiles div"),
                                 ("h3.without", ".of-without"), ("h3.with", ".of-with"), (".tiles .without", ".tiles div"),
                                 (".figures dt", ".of-without"), (".figures dt", ".of-with"), ("a", "body")):
            ink, paper = browser.run("""
                const style = selector => getComputedStyle(document.querySelector(selector));
                return [style(arguments[0]).color, style(arguments[1]).backgroundColor]""", selector, behind)
            dark, light = sorted(map(luminance, (ink, paper)))
            contrast = (light + 0.05) / (dark + 0.05)
            check(contrast >= 4.5, f"{selector} on {behind} has a contrast of {contrast:.1f} ({scheme})")
        papers.append(browser.run("return getComputedStyle(document.body).backgroundColor"))
        if pictures:
            for width in 390, 800:
                browser.resize(width, scale=1.5)
                wait_until(lambda: browser.run("return at('chart').viewBox.baseVal.width === at('chart').clientWidth"),
                           "the chart is drawn again")
                browser.take_picture(os.path.join(pictures, f"page-{width}-{scheme}.png"))
    check(papers[0] != papers[1], "dark looks like light")
    browser.prefer("light")
    browser.resize(390)


def expect_silence(server, browser):
    """Nothing on the console, nothing asked of other hosts; what would be there is seen."""
    complaints = browser.log("browser")
    refused = "409 (Conflict)"  # the burst that had to be refused: Chromium logs each such answer itself
    check([one for one in complaints if refused not in one["message"]] == [], f"on the console: {complaints}")
    events = [json.loads(one["message"])["message"] for one in browser.log("performance")]
    home = f"http://127.0.0.1:{server.port}/"
    urls = {one["params"]["request"]["url"] for one in events  # Chromium's own first page asks for more
            if one["method"] == "Network.requestWillBeSent" and one["params"]["documentURL"] == home}
    check({home, home + "live", home + "burst/100?coalesce=1"} <= urls, f"the log is incomplete: {urls}")
    foreign = {url for url in urls if not url.startswith((home, "data:"))}
    check(not foreign, f"other hosts were asked: {foreign}")

    browser.run("console.error('seeded'); fetch('http://elsewhere.invalid/').catch(() => {})")
    seen = []
    wait_until(lambda: seen.extend(one["message"] for one in browser.log("browser")) or
               any("seeded" in one for one in seen) and any("Content Security Policy" in one for one in seen),
               lambda: f"an error and a refused request are on the console: {seen}")


def test(program, folder, pictures):
    database = os.path.join(folder, "users.sqlite3")
    options = {"db_latency_ms": LATENCY, "timeout_ms": TIMEOUT, "busy_timeout_ms": 60_000}
    server = Server(program, database, os.path.join(folder, "server.log"), options, None, 0)
    try:
        browser = Browser(folder)
        try:
            browser.resize(390)
            browser.open(f"http://127.0.0.1:{server.port}/")
            browser.expect("#requests", "1")
            expect_burst(server, browser)
            expect_flights(server, browser, database, pictures)
            expect_silence(server, browser)
            server.terminate()
            server.expect_end(10)
            browser.expect("#connection", "The server does not answer.")
        finally:
            browser.quit()
    finally:
        server.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program", help="demo_server or demo_httplib_server")
    parser.add_argument("--pictures", metavar="FOLDER", help="where to put pictures of the page")
    given = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="demo_page.", ignore_cleanup_errors=True) as folder:
        try:
            test(given.program, folder, given.pictures)
        except (Wrong, OSError) as error:
            print(f"WRONG: {error}")
            for name in "server.log", "chromedriver.log":
                with open(os.path.join(folder, name)) as log:
                    print("".join(f"  | {line}" for line in log.readlines()[-20:]), end="")
            return 1
    print(f"the page is right ({time.monotonic() - start:.1f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
