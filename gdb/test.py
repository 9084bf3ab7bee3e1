# SPDX-License-Identifier: MIT
# gdb -batch -nx -x cacheflight.py -x test.py test_program
import re
import traceback

import gdb


def expect(printed, *wanted):
    for text in wanted:
        if text not in printed:
            raise AssertionError(f"{text!r} is not in: {printed}")
    if "warning" in printed:
        raise AssertionError(printed)


def show(expression):
    printed = gdb.execute(f"print {expression}", to_string=True)
    print(printed)
    return printed


try:
    gdb.execute("set width 0")
    gdb.execute("break stop_here")
    gdb.execute("run")
    gdb.execute("up")
    expect(show("idle"), "= cacheflight group, flights up: 0, detached tasks: 0\n")
    expect(show("numbers"), "flights up: 90, detached tasks: 0 = {",
           *(f"[{number}] = joinable, waiters: 1, id: " for number in range(90)))
    texts = show("texts")
    expect(texts, "= cacheflight group, flights up: 3, detached tasks: 0 = {",
           '["user:42"] = joinable, waiters: 2, id: ', '["user:43"] = joinable, waiters: 1, id: ')
    doomed = re.search(r'"user:44"] = joinable, waiters: 1, id: \d+, at (0x[0-9a-f]+)', texts)[1]

    gdb.execute("continue")
    gdb.execute("up")
    texts = show("texts")
    expect(texts, "flights up: 2, detached tasks: 1", '"user:42"] = joinable', '"user:43"] = superseded')
    if "user:44" in texts:
        raise AssertionError(texts)
    flight = "cacheflight::v1::detail::flight<cacheflight::v1::std_platform>*"
    expect(show(f"({flight}) {doomed}"), "= detached (cancelled), waiters: 1, id: ")
    gdb.execute("kill")
    gdb.execute("quit 0")
except Exception:
    traceback.print_exc()
    gdb.execute("quit 1")
