#!/usr/bin/env python3
"""Runs each client library's script against the proxy in front of real Redis servers.

Starts the servers and the proxy on free loopback ports in a temporary directory and stops them at the end.
A script prints `PASS case` or `FAIL case: why` per case; a case it should report and does not is a failure,
so a script that ends early or hangs cannot pass. The last line is `N passed, N failed`; the exit code is 0
only if nothing failed.

usage: run.py PROXY_BINARY [SUITE...]    (PYTHON and NODE_DIR: where tests/run.sh put the libraries)
"""

import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
PASSWORD = "client tests' secret"
START_LIMIT = 15
SUITE_LIMIT = 180

COMMON = (
    "set_get mset_mget pipeline binary large del_exists error_keeps_connection auth auth_refused connect"
).split()


def suites():
    python = os.environ.get("PYTHON", sys.executable)
    node = Path(os.environ.get("NODE_DIR", HERE / "node"))
    cli = (
        "plain inline resp3 database_0 mset_mget pipe binary large error_keeps_connection auth auth_refused"
    ).split()
    return {
        "redis-py": ([python, HERE / "redis_py.py"], [*COMMON, "resp2"]),
        "ioredis": (["node", node / "ioredis.mjs"], COMMON),
        "node-redis": (["node", node / "node_redis.mjs"], COMMON),
        "phpredis": (["php", HERE / "phpredis.php"], COMMON),
        "redis-cli": (["bash", HERE / "redis_cli.sh"], cli),
    }


def die_with_parent():
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def free_port():
    """Below the kernel's range for outgoing connections, which would otherwise take a port we found."""
    for _ in range(1000):
        port = random.randrange(10000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    sys.exit("no free port")


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Processes:
    """Everything we started; stopped in reverse order."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.running = []

    def start(self, name, command, ports):
        log = self.directory / f"{name}.out"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                cwd=self.directory, preexec_fn=die_with_parent,
            )
        self.running.append((name, process))
        deadline = time.monotonic() + START_LIMIT
        while not all(listens(port) for port in ports):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{name} did not start ({process.poll()}):\n{log.read_text(errors='replace')}")
            time.sleep(0.02)

    def check_alive(self):
        return [f"{name} ended with {p.returncode}" for name, p in self.running if p.poll() is not None]

    def stop(self):
        for _, process in reversed(self.running):
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def start_all(processes, binary):
    """Two pools, without and with a password; returns the environment for the scripts."""

    def servers(count, *arguments):
        ports = []
        for _ in range(count):
            port = free_port()
            command = ["redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
            processes.start(f"redis-{port}", [*command, *arguments], [port])
            ports.append(port)
        return "".join(f"    - 127.0.0.1:{port}:1 server{n}\n" for n, port in enumerate(ports, 1))

    plain, locked, stats = free_port(), free_port(), free_port()
    config = processes.directory / "nutcracker.yml"
    config.write_text(
        f"plain:\n  listen: 127.0.0.1:{plain}\n  redis: true\n  servers:\n{servers(3)}"
        f"locked:\n  listen: 127.0.0.1:{locked}\n  redis: true\n  redis_auth: \"{PASSWORD}\"\n  servers:\n"
        f"{servers(2, '--requirepass', PASSWORD)}"
    )
    command = [binary, "-c", config, "-o", processes.directory / "proxy.log", "-a", "127.0.0.1", "-s", stats]
    processes.start("proxy", command, [plain, locked])
    return {
        **os.environ,
        "NUTHATCH_HOST": "127.0.0.1",
        "NUTHATCH_PORT": str(plain),
        "NUTHATCH_AUTH_PORT": str(locked),
        "NUTHATCH_PASSWORD": PASSWORD,
    }


def run_suite(name, command, cases, environment):
    """Prints a line per case; returns (passed, failed)."""
    process = subprocess.Popen(
        [str(part) for part in command], env=environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        preexec_fn=die_with_parent,
    )
    try:
        output, _ = process.communicate(timeout=SUITE_LIMIT)
        end = f"the script ended with {process.returncode} before it"
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        end = f"no result within {SUITE_LIMIT} s"
    results = {}
    for line in output.splitlines():
        verdict, _, rest = line.partition(" ")
        case = rest.partition(":")[0]
        if verdict in ("PASS", "FAIL") and case in cases:
            results[case] = line
        else:
            print(f"{name}: | {line}")
    for case in cases:
        results.setdefault(case, f"FAIL {case}: {end}")
    for line in results.values():
        print(f"{name}: {line}", flush=True)
    failed = sum(line.startswith("FAIL") for line in results.values())
    return len(results) - failed, failed


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    binary, chosen = Path(sys.argv[1]).resolve(), sys.argv[2:]
    known = suites()
    if unknown := set(chosen) - set(known):
        sys.exit(f"unknown suite {', '.join(unknown)}; there are {', '.join(known)}")
    passed = failed = 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="nuthatch-clients-") as directory:
        processes = Processes(directory)
        try:
            environment = start_all(processes, binary)
            for name in chosen or known:
                suite_passed, suite_failed = run_suite(name, *known[name], environment)
                passed += suite_passed
                failed += suite_failed
            for why in processes.check_alive():
                print(f"FAIL {why}")
                failed += 1
        finally:
            processes.stop()
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
