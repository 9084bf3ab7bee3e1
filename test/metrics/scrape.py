#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A real Prometheus scrapes two demo servers: the samples are the requests that were made, the rules of monitoring/ load
and fire, and each query of the dashboard finds data.

Nothing is ordered by sleeping: requests are held up by a lock on the database until Prometheus has what is expected, for
which it is asked again and again, for a limited time. Only the standard library is used.
"""
import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
MONITORING = os.path.join(HERE, "..", "..", "monitoring")
sys.path.insert(0, os.path.join(HERE, "..", "demo"))
from faults import Run, Wrong, ask_all, check, locked, vanish, wait_until  # noqa: E402: it is found by the line above

PATIENCE = 60.0  # of every wait for Prometheus; no check needs it unless something is wrong
CONFIG = """
global: {{scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}}
rule_files: ['{rules}']
scrape_configs:
  - job_name: demo
    static_configs: [{{targets: [{targets}]}}]
"""


class Prometheus:
    """One, on a free port, with its data in `folder`."""

    def __init__(self, program, folder, rules, ports):
        self.log = os.path.join(folder, "prometheus.log")
        config = os.path.join(folder, "prometheus.yml")
        with open(config, "w") as file:
            file.write(CONFIG.format(rules=os.path.abspath(rules), targets=", ".join(f"'127.0.0.1:{port}'" for port in ports)))
        with open(self.log, "w") as out:
            self.process = subprocess.Popen(
                [program, "--config.file=" + config, "--storage.tsdb.path=" + os.path.join(folder, "data"),
                 "--web.listen-address=127.0.0.1:0"], stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def __enter__(self):
        try:
            found = wait_until(self.look_up, "Prometheus listens", PATIENCE)
            self.api = f"http://127.0.0.1:{found.group(1)}/api/v1/"
            wait_until(self.ready, "Prometheus is ready", PATIENCE)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def look_up(self):
        check(self.process.poll() is None, f"Prometheus has exited with {self.process.returncode}")
        with open(self.log) as log:
            return re.search(r'msg="Listening on" address=127\.0\.0\.1:(\d+)', log.read())

    def ready(self):
        with contextlib.suppress(urllib.error.HTTPError):  # while it starts it refuses, and is asked again
            return self.get("query", query="1")

    def get(self, what, **parameters):
        try:
            with urllib.request.urlopen(self.api + what + "?" + urllib.parse.urlencode(parameters), timeout=PATIENCE) as got:
                answer = json.load(got)
        except urllib.error.HTTPError as error:
            if error.code == 503:  # not ready yet
                raise
            raise Wrong(f"{what} {parameters}: {error.read().decode()}") from None
        check(answer["status"] == "success", f"{what} {parameters}: {answer}")
        return answer["data"]

    def query(self, text):
        """Label sets with their values."""
        return [(one["metric"], float(one["value"][1])) for one in self.get("query", query=text)["result"]]

    def expect(self, port, **wanted):
        """Until the samples of that server say so."""
        seen = {}

        def reached():
            for name in wanted:
                found = self.query(f'cacheflight_{name}{{instance="127.0.0.1:{port}", group="users"}}')
                seen[name] = found[0][1] if len(found) == 1 else found
            return seen == wanted

        wait_until(reached, lambda: f"{wanted}, but {seen}", PATIENCE)

    def expect_alert(self, name, port, state):
        def reached():
            return any(alert["labels"]["alertname"] == name and alert["state"] == state
                       and alert["labels"]["instance"] == f"127.0.0.1:{port}" for alert in self.get("alerts")["alerts"])

        wait_until(reached, lambda: f"{name} is {state}: {self.get('alerts')}", PATIENCE)


def samples(text):
    """What a server's text says: {(name, labels): value}."""
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, labels, value = re.fullmatch(r'(\w+)\{(.*)\} (\S+)', line).groups()
            key = (name, frozenset(re.findall(r'(\w+)="([^"]*)"', labels)))
            check(key not in found, f"twice: {line}")
            found[key] = float(value)
    return found


def expect_answers(server, clients, status):
    found = [answer and answer.status for answer in server.collect(clients)]
    check(found == [status] * len(clients), f"answered with {found} instead of {status}")
    for client in clients:
        client.close()


def make_requests(run, prometheus, server, hasty):
    """One request at each server has been answered already."""
    prometheus.expect(server.port, miss_total=1, hit_total=0, max_keys_rejected_total=0, max_keys=2, task_duration_ms_count=1)
    with locked(run.database):
        held = ask_all(server, 10, "/user/1") + ask_all(server, 5, "/user/2")
        expect_answers(server, [client.ask("/user/3") for client in server.clients(3)], 503)
        prometheus.expect(server.port, miss_total=1 + 2 + 3, hit_total=9 + 4, max_keys_rejected_total=3,
                          active_keys=2, waiters=15, task_duration_ms_count=1)
        prometheus.expect_alert("CacheFlightMaxKeysRejected", server.port, "firing")
        prometheus.expect_alert("CacheFlightKeysNearLimit", server.port, "pending")
        expect_answers(hasty, [client.ask("/user/1") for client in hasty.clients(1)], 504)
    expect_answers(server, held, 200)
    prometheus.expect(server.port, active_keys=0, waiters=0, task_duration_ms_count=3, error_total=0, cancelled_total=0)

    with locked(run.database):
        vanish(ask_all(server, 4))
        prometheus.expect(server.port, cancelled_total=1)
    with locked(run.database) as connection:
        connection.execute("ALTER TABLE orders RENAME TO gone")
    expect_answers(server, [client.ask("/user/1") for client in server.clients(1)], 500)
    prometheus.expect(server.port, error_total=1, timeout_total=0, callback_failures_total=0, detached_tasks=0,
                      type_mismatch_total=0, task_duration_ms_count=3)
    prometheus.expect(hasty.port, timeout_total=1, hit_total=0, error_total=0, max_keys=10_000)


def compare_with_text(prometheus, server):
    """At rest Prometheus has each sample of the text, and no other."""
    answer = server.get("/metrics")
    check(answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8", f"type: {answer.headers}")
    wanted = samples(answer.body)
    check(len(wanted) > 20, f"not much of a text: {answer.body}")
    seen = {}

    def reached():
        seen.clear()
        for labels, value in prometheus.query(f'{{__name__=~"cacheflight_.+", instance="127.0.0.1:{server.port}"}}'):
            name, instance, job = labels.pop("__name__"), labels.pop("instance"), labels.pop("job")
            check(job == "demo" and instance.endswith(str(server.port)), f"labels: {labels}")
            if labels.get("le", "").endswith(".0"):
                labels["le"] = labels["le"][:-2]
            seen[name, frozenset(labels.items())] = value
        return seen == wanted

    wait_until(reached, lambda: f"differences: {set(wanted.items()) ^ set(seen.items())}", PATIENCE)
    check({label for _, labels in wanted for label, _ in labels} == {"group", "le"}, "there are other labels")


def check_rules(prometheus):
    rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    check([rule["type"] for rule in rules] == ["recording"] + ["alerting"] * 3, f"rules: {rules}")
    for rule in rules:
        check(rule["health"] == "ok", f"a rule that does not work: {rule}")
    found = wait_until(lambda: prometheus.query("cacheflight:timeout_ratio:rate5m > 0"), "there is a timeout ratio", PATIENCE)
    check([labels["group"] for labels, _ in found] == ["users"], f"timeout ratio: {found}")
    return {rule["name"] for rule in rules}


def queries_of(dashboard):
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


def check_dashboard(prometheus, dashboard, names):
    """Each query finds data, and what they ask for is all that there is."""
    asked = set()
    for title, expression in queries_of(dashboard):
        asked |= set(re.findall(r"cacheflight[\w:]+", expression))
        for variable, value in (("$__rate_interval", "5m"), ("$job", "demo"), ("$group", "users")):
            expression = expression.replace(variable, value)
        check("$" not in expression, f"{title}: {expression}")
        check(prometheus.query(expression), f"{title}: no data for {expression}")
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((cacheflight_\w+)(?:\{.*\})?, (\w+)\)", variable["query"]["query"]).groups()
            check(all(label in labels for labels, _ in prometheus.query(metric)), f"variable {variable['name']}")
            check(metric in names, f"variable {variable['name']}")
    check(asked <= names, f"the dashboard asks for what is not exported: {asked - names}")
    shown = {re.sub("_(bucket|sum|count)$", "", name) for name in asked}
    missing = {re.sub("_(bucket|sum|count)$", "", name) for name in names} - shown
    missing -= {"cacheflight_task_duration_ms"}  # the seed's name: the same in milliseconds
    check(not missing, f"not on the dashboard: {missing}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("program", help="demo_server")
    parser.add_argument("--kind", default="asio", choices=["asio", "threads"], help="what the program is")
    parser.add_argument("--prometheus", default="prometheus", help="the program")
    parser.add_argument("--rules", default=os.path.join(MONITORING, "cacheflight.rules.yml"))
    parser.add_argument("--dashboard", default=os.path.join(MONITORING, "cacheflight-dashboard.json"))
    given = parser.parse_args()
    with open(given.dashboard) as file:
        dashboard = json.load(file)

    with tempfile.TemporaryDirectory(prefix="metrics.") as folder:
        run = Run(given.kind, given.program, folder, 0, False)
        try:
            with run.server(max_keys=2) as server, contextlib.ExitStack() as also:
                run.log = os.path.join(folder, "hasty.log")
                hasty = also.enter_context(run.server(timeout_ms=1000))
                with Prometheus(given.prometheus, folder, given.rules, [server.port, hasty.port]) as prometheus:
                    make_requests(run, prometheus, server, hasty)
                    for one in (server, hasty):
                        compare_with_text(prometheus, one)
                    rules = check_rules(prometheus)
                    names = set(prometheus.get('label/__name__/values', **{"match[]": '{__name__=~"cacheflight.+"}'}))
                    check_dashboard(prometheus, dashboard, names)
                    targets = prometheus.get("targets")["activeTargets"]
                    check([one["health"] for one in targets] == ["up", "up"], f"targets: {targets}")
                for one in (server, hasty):
                    one.terminate()
        except (Wrong, OSError) as problem:
            print(f"WRONG: {problem}")
            for log in sorted(name for name in os.listdir(folder) if name.endswith(".log")):
                with open(os.path.join(folder, log)) as file:
                    print(log, "".join("  | " + line for line in file.readlines()[-15:]), sep="\n")
            return 1
    print(f"{len(names)} names, {len(rules)} rules and {len(list(queries_of(dashboard)))} queries are right")
    return 0


if __name__ == "__main__":
    sys.exit(main())
