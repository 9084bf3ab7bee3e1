#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The demo servers under fault: clients that vanish, a database that is locked, broken or stalled, floods of requests,
a stop with requests in flight, malformed requests, and no file descriptors left.

Nothing is ordered by sleeping: a scenario holds the database's lock (or swaps a table for one that has no end) until
the server's own /stats say that everybody is where the scenario wants them. Only the standard library is used.
"""
import argparse
import collections
import contextlib
import json
import os
import re
import resource
import shutil
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time

PATIENCE = 15.0  # of every wait; no scenario needs it unless something is wrong


class Wrong(Exception):
    """What a server must not do."""


def check(holds, what):
    if not holds:
        raise Wrong(what)


def wait_until(holds, what, patience=PATIENCE):
    """Polls until `holds()` is true, and returns what it returned."""
    deadline = time.monotonic() + patience
    while True:
        seen = holds()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise Wrong(f"not within {patience:.0f} s: {what() if callable(what) else what}")
        time.sleep(0.002)  # orders nothing: the pace of asking again, until the deadline above


# --- a client ---------------------------------------------------------------------------------------------------------

Answer = collections.namedtuple("Answer", "status headers body")


class Client:
    """One connection."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.unread = b""

    def send(self, data):
        with contextlib.suppress(ConnectionError):  # what became of it is seen when the answer is read
            self.socket.sendall(data)

    def ask(self, target, more="", method="GET"):
        self.send(f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n".encode())
        return self

    def answer(self):
        """The next response; None if the connection was closed without one."""
        try:
            while b"\r\n\r\n" not in self.unread:
                if not self.receive():
                    check(not self.unread, "a response was cut off")
                    return None
            head, self.unread = self.unread.split(b"\r\n\r\n", 1)
            lines = head.decode("latin-1").split("\r\n")
            headers = dict((name.lower(), value.strip()) for name, value in (line.split(":", 1) for line in lines[1:]))
            length = int(headers.get("content-length", 0))
            while len(self.unread) < length:
                check(self.receive(), "a response was cut off")
            body, self.unread = self.unread[:length], self.unread[length:]
            return Answer(int(lines[0].split()[1]), headers, body.decode())
        except socket.timeout:
            raise Wrong("a request was neither answered nor its connection closed") from None

    def receive(self):
        try:
            data = self.socket.recv(65536)
        except ConnectionError:
            data = b""
        self.unread += data
        return data

    def close(self, reset=False):
        if reset:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def vanish(clients):
    """Half of them say good-bye, half of them do not."""
    for number, client in enumerate(clients):
        client.close(reset=number % 2 == 1)


# --- a server ---------------------------------------------------------------------------------------------------------


class Server:
    """One run of a server program."""

    def __init__(self, program, database, log, options, descriptors, port):
        self.log = log
        self.answers = collections.Counter()
        self.closed = 0
        self.peak = 0
        self.told_to_stop = False
        self.control = None
        self.first_stats = self.last_stats = dict.fromkeys((what + "_db_calls" for what in QUERIES), 0)
        probe = options.pop("probe", "/user/1")
        command = [program, "--port", str(port), "--database", database]
        for name, value in options.items():
            command += ["--" + name.replace("_", "-"), str(value)]

        def limit():
            if descriptors:
                resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

        with open(log, "w") as out:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, preexec_fn=limit)
        try:
            found = wait_until(lambda: self.look_up(r"listening on http://127\.0\.0\.1:(\d+)"), "it listens", 60)
            self.port = int(found.group(1))
            if probe:  # from here on nothing is made lazily
                check(self.get(probe).status == 200, "the server does not work")
                self.first_stats = self.stats()
        except BaseException:
            self.kill()
            raise
        self.descriptors_at_rest = self.descriptors()

    def look_up(self, pattern):
        self.check_alive()
        with open(self.log) as log:
            return re.search(pattern, log.read())

    def check_alive(self):
        check(self.process.poll() is None, f"the server has exited with {self.process.returncode}")

    def get(self, target):
        """On the connection that the harness keeps for itself."""
        for _ in range(2):  # it may have been closed for being idle, or old
            self.check_alive()
            if not self.control:
                self.control = Client(self.port)
            answer = self.control.ask(target).answer()
            if not answer or answer.headers.get("connection", "").lower() == "close":
                self.let_go()
            if answer:
                return answer
        raise Wrong("the server closes its connections at once")

    def stats(self):
        self.last_stats = json.loads(self.get("/stats").body)
        return self.last_stats

    def queries(self, what):
        """Since the start, as /stats said last."""
        return self.last_stats[what + "_db_calls"] - self.first_stats[what + "_db_calls"]

    def wait_for(self, **wanted):
        """Until /stats say so."""

        def reached():
            stats = self.stats()
            return stats if all(stats[name] == value for name, value in wanted.items()) else None

        def seen():
            return f"{wanted}, but {({name: self.last_stats[name] for name in wanted})}"

        return wait_until(reached, seen)

    def wait_for_rest(self):
        """Until nothing goes on, and nothing is held that was not held at the start."""
        stats = self.wait_for(in_flight_keys=0, waiters=0, detached=0, active_db_calls=0)
        ended = sum(stats[name] for name in ("resolved", "rejected", "timed_out", "cancelled"))
        check(stats["misses"] == stats["started"] == ended, f"the books do not balance: {stats}")
        wait_until(lambda: self.descriptors() <= self.descriptors_at_rest,
                   lambda: f"{self.descriptors()} descriptors, {self.descriptors_at_rest} at the start")
        self.note_peak()
        return stats

    def clients(self, count):
        return [Client(self.port) for _ in range(count)]

    def collect(self, clients):
        """The answers of all clients, None for those whose connection was closed."""
        found = [client.answer() for client in clients]
        self.answers.update(answer.status for answer in found if answer)
        self.closed += found.count(None)
        return found

    def collect_in_turn(self, clients):
        """As each closes its connection when it has its answer, others can be accepted."""
        for client in clients:
            self.collect([client])
            client.close()

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def memory(self, field):
        """In MB: VmRSS, or VmHWM for the peak."""
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(field + r":\s+(\d+)", status.read()).group(1)) / 1024

    def note_peak(self):
        self.peak = self.memory("VmHWM")

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def terminate(self):
        self.note_peak()
        self.told_to_stop = True
        self.process.send_signal(signal.SIGTERM)

    def expect_end(self, within):
        start = time.monotonic()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise Wrong("the server does not stop") from None
        took = time.monotonic() - start
        check(self.process.returncode == 0, f"the server exited with {self.process.returncode}")
        check(took <= within, f"the server took {took:.1f} s to stop, {within} s are allowed")

    def let_go(self):
        if self.control:
            self.control.close()
            self.control = None

    def kill(self):
        self.let_go()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


# --- a database that fails --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def locked(database):
    """Nobody else can read until the block ends; what the block changes appears then."""
    connection = sqlite3.connect(database, timeout=PATIENCE, isolation_level=None)
    try:
        connection.execute("BEGIN EXCLUSIVE")
        yield connection
        connection.execute("COMMIT")
    finally:
        connection.close()  # rolls back if the block was left by an exception


@contextlib.contextmanager
def endless(database):
    """Every query runs until it is interrupted."""
    with locked(database) as connection:
        connection.execute("ALTER TABLE orders RENAME TO real_orders")
        connection.execute("""
            CREATE VIEW orders AS
            WITH RECURSIVE count(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM count)
            SELECT n AS id, n AS user_id, '' AS product, n AS quantity, n AS price_cents FROM count WHERE n < 0""")
    yield
    with locked(database) as connection:
        connection.execute("DROP VIEW orders")
        connection.execute("ALTER TABLE real_orders RENAME TO orders")


# --- the scenarios ----------------------------------------------------------------------------------------------------

scenarios = []


def scenario(function):
    """Its first line of documentation is its name in the table."""
    scenarios.append(function)
    return function


class Run:
    """What the scenarios of one run share: the program, the database, and the servers of the scenario under way."""

    def __init__(self, kind, program, folder, requests, sanitized):
        self.kind, self.program, self.requests, self.sanitized = kind, program, requests, sanitized
        self.pristine = os.path.join(folder, "pristine.sqlite3")
        self.database = os.path.join(folder, "users.sqlite3")
        self.log = os.path.join(folder, "server.log")
        self.servers = []
        self.prompt = 15.0 if sanitized else 4.0  # seconds: the end of a process that has nothing to wait for

    @contextlib.contextmanager
    def server(self, descriptors=None, port=0, **options):
        """A server that waits long, unless the options say otherwise; at the end it must be at rest, and stop."""
        chosen = {"db_latency_ms": 0, "timeout_ms": 60_000, "busy_timeout_ms": 60_000,
                  "threads": 2 if self.kind == "asio" else 320} | options
        server = Server(self.program, self.database, self.log, chosen, descriptors, port)
        self.servers.append(server)
        try:
            yield server
            if not server.told_to_stop:
                server.wait_for_rest()
                server.terminate()
            server.expect_end(self.prompt)
        finally:
            server.kill()

    def perform(self, function):
        """One line of the table; false if something was wrong."""
        self.servers = []
        start = time.monotonic()
        problem = None
        try:
            if os.path.exists(self.pristine):
                shutil.copyfile(self.pristine, self.database)
            function(self)
        except (Wrong, OSError, sqlite3.Error) as error:
            problem = error
        seconds = time.monotonic() - start
        answers = sum((server.answers for server in self.servers), collections.Counter())
        closed = sum(server.closed for server in self.servers)
        queries = [sum(server.queries(what) for server in self.servers) for what in QUERIES]
        peak = max((server.peak for server in self.servers), default=0)
        print(LINE.format(function.__doc__.split("\n")[0].rstrip("."), sum(answers.values()) + closed, closed, *queries,
                          round(peak), round(seconds, 1), " ".join(f"{s}:{n}" for s, n in sorted(answers.items()))),
              flush=True)
        if problem:
            print(f"  WRONG: {problem}")
            with contextlib.suppress(OSError), open(self.log) as log:  # the server may not have begun one
                print("".join("  | " + line for line in log.readlines()[-40:]), flush=True)
        return not problem


QUERIES = ("total", "answered", "failed", "stopped")
LINE = "{:<66} {:>8} {:>6} {:>6} {:>6} {:>6} {:>7} {:>7} {:>5}  {}"


def ask_all(server, count, target="/user/1"):
    """So many clients, all of whom wait for the same flight."""
    waiting = server.stats()["waiters"]
    clients = [client.ask(target) for client in server.clients(count)]
    server.wait_for(waiters=waiting + count)
    return clients


def expect_all(answers, status, body=""):
    for answer in answers:
        check(answer is not None, f"a connection was closed instead of being answered with {status}")
        check(answer.status == status, f"answered with {answer.status} instead of {status}: {answer.body}")
        check(body in answer.body, f"not what was expected: {answer.body}")
        if status >= 500:
            check(not re.search("sqlite|users|orders|/", answer.body), f"the answer tells of insides: {answer.body}")


def expect_answers(server, clients, status, body=""):
    expect_all(server.collect(clients), status, body)
    for client in clients:
        client.close()


def expect_service(server, target="/user/2"):
    expect_answers(server, [client.ask(target) for client in server.clients(1)], 200)


def expect_stopped(server, clients, flights=1):
    """All of them leave: their query stops, and the key is free."""
    before = server.wait_for(active_db_calls=flights)
    vanish(clients)
    server.closed += len(clients)
    server.wait_for(in_flight_keys=0, waiters=0, detached=0, active_db_calls=0,
                    stopped_db_calls=before["stopped_db_calls"] + flights, cancelled=before["cancelled"] + flights)


def expect_fresh_start(server):
    """A new request leads a new flight; returns its client, who waits."""
    before = server.stats()
    (client,) = ask_all(server, 1)
    server.wait_for(started=before["started"] + 1, active_db_calls=1)
    return client


def make_database(run):
    """The first start makes the database."""
    with run.server() as server:
        expect_service(server)
    os.rename(run.database, run.pristine)


@scenario
def all_leave_while_locked(run):
    """100 clients leave, the query waits for a lock."""
    with run.server() as server:
        with locked(run.database):
            expect_stopped(server, ask_all(server, 100))
            late = expect_fresh_start(server)
        expect_answers(server, [late], 200)


@scenario
def all_leave_while_computing(run):
    """100 clients leave, the query computes."""
    with run.server() as server:
        with endless(run.database):
            expect_stopped(server, ask_all(server, 100))
            expect_stopped(server, [expect_fresh_start(server)])
        expect_service(server, "/user/1")


@scenario
def all_leave_during_latency(run):
    """100 clients leave, the query is on the network."""
    with run.server(db_latency_ms=60_000, probe="/stats") as server:
        expect_stopped(server, ask_all(server, 100))
        expect_stopped(server, [expect_fresh_start(server)])


@scenario
def half_leave(run):
    """50 of 100 clients leave, the others get the answer."""
    with run.server() as server:
        with locked(run.database):
            clients = ask_all(server, 100)
            vanish(clients[::2])
            server.closed += 50
            server.wait_for(waiters=50, in_flight_keys=1)
        expect_answers(server, clients[1::2], 200, '"id":1,')
        server.wait_for(total_db_calls=2)  # with the one at the start


@scenario
def database_locked(run):
    """The database is locked for longer than a query waits."""
    with run.server(busy_timeout_ms=400) as server:
        with locked(run.database):
            clients = [client.ask("/user/1") for client in server.clients(100)]
            expect_answers(server, clients, 503, "busy")
        flights = server.stats()["rejected"]
        check(server.queries("failed") == flights <= 10, f"{flights} flights for requests that came together")
        expect_service(server, "/user/1")


@scenario
def table_missing(run):
    """A table is gone."""
    with run.server() as server:
        with locked(run.database) as connection:
            clients = ask_all(server, 100)
            connection.execute("ALTER TABLE orders RENAME TO misplaced")
        expect_answers(server, clients, 500, '{"error":"the database failed"}')
        server.wait_for(total_db_calls=2, failed_db_calls=1)  # with the one at the start
        with locked(run.database) as connection:
            connection.execute("ALTER TABLE misplaced RENAME TO orders")
        expect_service(server, "/user/1")


@scenario
def file_corrupt(run):
    """The database file is overwritten."""
    with run.server() as server, open(run.database, "r+b", buffering=0) as file:
        header = os.pread(file.fileno(), 100, 0)
        with locked(run.database):
            clients = ask_all(server, 100)
            os.pwrite(file.fileno(), b"\xde\xad\xbe\xef" * 25, 0)
        expect_answers(server, clients, 500, '{"error":"the database failed"}')
        server.wait_for(total_db_calls=2, failed_db_calls=1)  # with the one at the start
        os.pwrite(file.fileno(), header, 0)
        expect_service(server, "/user/1")


@scenario
def stalled(run):
    """The database stalls for longer than a flight may take."""
    # Queries that nobody may stop take all connections of the server, so that the flight's query cannot even
    # look at its stop request: it is detached until they let go.
    with run.server(timeout_ms=500) as server:
        with locked(run.database):
            stubborn = [client.ask("/user/3?coalesce=0") for client in server.clients(2 if run.kind == "asio" else 4)]
            server.wait_for(active_db_calls=len(stubborn))
            # They are counted a moment before they have their connections. Once another flight has timed out
            # they do, even if its query was faster than one of them, and could be stopped.
            expect_answers(server, [client.ask("/user/2") for client in server.clients(1)], 504, "too long")
            clients = [client.ask("/user/1") for client in server.clients(100)]
            start = time.monotonic()
            expect_answers(server, clients, 504, "too long")
            check(time.monotonic() - start < run.prompt, "the answers did not come at the timeout")
            flights = server.stats()["timed_out"]
            check(2 <= flights <= 11, f"{flights} flights for requests that came together")

            def detached():
                stats = server.stats()
                rest = stats["in_flight_keys"] == stats["waiters"] == 0
                # A thread of the blocking server waits for a connection with its stop token, and is back at
                # once.
                if run.kind == "threads":
                    return rest and stats["detached"] == 0
                return rest and stats["detached"] == flights - stats["stopped_db_calls"] >= flights - 1

            wait_until(detached, lambda: f"{server.last_stats}")
        expect_answers(server, stubborn, 200)
        server.wait_for(detached=0, active_db_calls=0, stopped_db_calls=flights, resolved=1)  # the one at the start
        expect_service(server, "/user/1")


@scenario
def flood(run):
    """A flood, 95 % of it for one user."""
    burst, unique, one_shot = 200, 10, 100
    with run.server() as server:
        kept = server.clients(burst - one_shot)
        served = 0
        memory = []
        for number in range(run.requests // burst):
            fresh = server.clients(one_shot)
            with locked(run.database):
                for index, client in enumerate(kept + fresh):
                    own = index % (burst // unique) == 0
                    client.ask(f"/user/{10 + (number * burst + index) % 19_000 if own else 1}",
                               "Connection: close\r\n" if client in fresh[::2] else "")
                server.wait_for(waiters=burst, in_flight_keys=unique + 1)
            expect_all(server.collect(kept + fresh), 200)
            served += burst
            for client in fresh:
                client.close()
            memory.append(server.memory("VmRSS"))
        for client in kept:
            client.close()
        stats = server.wait_for_rest()
        queries = served // burst * (unique + 1)
        check(server.queries("total") == queries, f"{server.queries('total')} queries instead of {queries}")
        check(stats["hits"] == served - queries, f"{stats['hits']} of {served} requests joined a flight")
        early, late = memory[len(memory) // 5], memory[-1]
        check(run.sanitized or late - early < 4, f"memory grows: {early:.1f} MB, in the end {late:.1f} MB")


@scenario
def burst_left(run):
    """A client leaves in the middle of the page's burst."""
    with run.server() as server:
        with locked(run.database):
            clients = [client.ask("/burst/50") for client in server.clients(1)]
            server.wait_for(waiters=50, in_flight_keys=1, active_db_calls=1)
            expect_answers(server, [client.ask("/burst/1") for client in server.clients(1)], 409, "under way")
            vanish(clients)
            server.closed += 1
        wait_until(lambda: server.get("/burst/1").status == 200, "the next burst is served")


@scenario
def malformed(run):
    """Requests that are none, half ones, and many at once."""
    with run.server() as server:
        def expect(data, *statuses):
            (client,) = server.clients(1)
            client.send(data)
            found = [client.answer() for _ in statuses]
            server.answers.update(answer.status for answer in found if answer)
            check([answer and answer.status for answer in found] == list(statuses),
                  f"{data[:60]!r} was answered with {found}, not with {statuses}")
            client.close()

        def get(target, more=b""):
            return b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n" + more + b"\r\n"

        too_large = 431 if run.kind == "asio" else 400
        expect(get(b"/user/1", b"X: " + b"x" * 100_000 + b"\r\n"), too_large)
        expect(get(b"/user/1", b"".join(b"X-%d: x\r\n" % number for number in range(5000))),
               431 if run.kind == "asio" else 200)  # cpp-httplib limits the line, not the header
        expect(get(b"/" + b"x" * 20_000), 431 if run.kind == "asio" else 414)
        for path in b"/nothing", b"/burst", b"/live/1", b"/user", b"/users/1", b"//user/1":
            expect(get(path), 404)
        for path in b"/user/", b"/user/x", b"/user/-1", b"/user/1/2", b"/user/99999999999999999999", b"/user/1?x=1":
            expect(get(path), 400)
        expect(get(b"/user/%2e%2e"), 400)
        expect(get(b"/user/9999999"), 404)
        for calls in b"", b"0", b"201", b"-1", b"1x", b"1?coalesce=2":
            expect(get(b"/burst/" + calls), 400)
        expect(get(b"/") + get(b"/live"), 200, 200)
        expect(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400)  # TLS
        expect(b"DELETE /user/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405)
        expect(b"POST /user/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n" + b"x" * 99_999, 413)
        # A client that does not wait for its answers: they come in order, and the flight is that of the
        # others.
        expect(get(b"/user/1") + get(b"/user/x") + get(b"/user/2") + get(b"/nothing"), 200, 400, 200, 404)
        # Half requests: the connection is given up by the client, and then is by the server.
        post = b"POST /user/1 HTTP/1.1\r\nContent-Length: 100\r\n\r\n"
        for half in b"GET /us", b"GET /user/1 HTTP/1.1\r\nHos", post + b"half":
            clients = server.clients(20)
            for client in clients:
                client.send(half)
            vanish(clients)
            server.closed += len(clients)
        expect_service(server, "/user/1")


@scenario
def stop_and_answer(run):
    """SIGTERM, 200 requests in flight, all of them answered."""
    with run.server(grace_ms=20_000) as server:
        idle = server.clients(30)
        expect_all(server.collect([client.ask("/user/2") for client in idle]), 200)
        half = server.clients(10)
        for client in half:
            client.send(b"GET /user/1 HTTP/1.1\r\nHos")
        with locked(run.database):
            clients = [client for user in range(20) for client in ask_all(server, 10, f"/user/{user + 1}")]
            server.terminate()
            wait_until(lambda: server.look_up("stopping"), "the server stops")
            wait_until(lambda: refused(server.port), "no new connections")
        expect_all(server.collect(clients), 200)
        check(server.collect(idle) == [None] * 30, "an idle connection was not closed")
        statuses = {answer and answer.status for answer in server.collect(half)}
        check(statuses <= {None, 400}, f"half a request was answered: {statuses}")
        check([client.answer() for client in clients] == [None] * 200, "a connection was kept after its answer")
        server.expect_end(run.prompt)
    start_again(run, server)


@scenario
def stop_and_refuse(run):
    """SIGTERM, 200 requests in flight, a database that does not answer."""
    with run.server(grace_ms=300) as server, locked(run.database):
        clients = [client for user in range(20) for client in ask_all(server, 10, f"/user/{user + 1}")]
        server.terminate()
        expect_all(server.collect(clients), 503)
        server.expect_end(run.prompt)
    start_again(run, server)


@scenario
def stop_at_once(run):
    """SIGTERM when the server has just started; SIGKILL; the next start."""
    with run.server(probe=None) as server:
        server.terminate()
    with run.server() as server, locked(run.database):
        ask_all(server, 100)
        server.told_to_stop = True
        server.closed += 100
        server.kill()
        server.process.returncode = 0
    start_again(run, server)


def refused(port):
    try:
        Client(port).close()
        return False
    except ConnectionError:
        return True


def start_again(run, old):
    """On the same port and the same database."""
    with run.server(port=old.port) as server:
        expect_service(server)


@scenario
def no_descriptors(run):
    """More connections than file descriptors."""
    with run.server(descriptors=64) as server:
        clients = server.clients(100)  # the system accepts them; the server cannot
        wait_until(lambda: server.descriptors() >= 64, lambda: f"only {server.descriptors()} descriptors are taken")
        used = server.cpu_seconds()
        time.sleep(1)  # orders nothing: a while in which there is nothing to do
        used = server.cpu_seconds() - used
        check(used < 0.1, f"waiting for descriptors took {used:.2f} s of CPU in 1 s")
        server.stats()  # connections that are up are served
        server.collect_in_turn([client.ask("/user/1") for client in clients])
        check(server.answers[200] == 100, f"answers: {server.answers}, {server.closed} closed")
        expect_service(server)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("kind", choices=["asio", "threads"], help="what the program is")
    parser.add_argument("program", help="demo_server or demo_httplib_server")
    parser.add_argument("--requests", type=int, default=10_000, help="of the flood")
    parser.add_argument("--sanitized", action="store_true", help="the program is slow, and its memory no measure")
    parser.add_argument("--only", action="append", metavar="NAME",
                        help="one of: " + ", ".join(function.__name__ for function in scenarios))
    given = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    chosen = [function for function in scenarios if not given.only or function.__name__ in given.only]
    if given.only and len(chosen) != len(given.only):
        parser.error("no such scenario")

    print(LINE.format(f"scenario ({given.kind})", "requests", "closed", "begun", "done", "failed", "stopped", "peak MB",
                      "s", "answers"))
    with tempfile.TemporaryDirectory(prefix="demo_faults.") as folder:
        run = Run(given.kind, given.program, folder, given.requests, given.sanitized)
        right = [run.perform(function) for function in [make_database] + chosen]
    print(f"{right.count(True)} of {len(right)} scenarios passed")
    return 0 if all(right) else 1


if __name__ == "__main__":
    sys.exit(main())
