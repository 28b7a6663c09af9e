#!/usr/bin/env python3
"""Reads a stats port as the agents do that were made for nutcracker, and prints what they would store.

usage: agents.py HOST PORT

Prints one `name value` per line, pools and servers with their names in front. Exits with 1 if any of the
ways to read it, each taken from a kind of agent that is about, would have failed.
"""

import json
import socket
import sys

HEADER_WORDS = ["service", "source", "version"]
HEADER = ["uptime", "timestamp", "total_connections", "curr_connections"]
POOL = ["client_eof", "client_err", "client_connections", "server_ejects", "forward_error", "fragments"]
SERVER = (
    "server_eof server_err server_timedout server_connections server_ejected_at requests request_bytes"
    " responses response_bytes in_queue in_queue_bytes out_queue out_queue_bytes"
).split()


def read_all(host, port):
    """twemproxy's own tests and most agents: connect, say nothing, read to the end."""
    with socket.create_connection((host, port), timeout=10) as stream:
        pieces = []
        while piece := stream.recv(4096):
            pieces.append(piece)
    return b"".join(pieces).decode()


def read_line(host, port):
    """Scripts with a file object read one line."""
    with socket.create_connection((host, port), timeout=10) as stream:
        return stream.makefile().readline()


def once(pairs):
    """No key may hide another: some agents keep the first of two, some the last."""
    names = [name for name, _ in pairs]
    assert len(set(names)) == len(names), f"a name is there twice in {names}"
    return dict(pairs)


def flatten(stats):
    """collectd, Ganglia, Munin: an object of the header is a pool, one in a pool a server, all else a number."""
    for name, value in stats.items():
        if not isinstance(value, dict):
            # What is a word in nutcracker's header they know, a list they take for neither pool nor number.
            if name not in HEADER_WORDS and not isinstance(value, list):
                yield name, int(value)
            continue
        for key, inner in value.items():
            if not isinstance(inner, dict):
                yield f"{name}.{key}", int(inner)
                continue
            for metric, number in inner.items():
                assert not isinstance(number, (dict, list, str)), f"{name}.{key}.{metric} is no number"
                yield f"{name}.{key}.{metric}", int(number)


def known_names(stats):
    """Datadog, Telegraf, exporters: looks up the names of nutcracker's version and casts them to float."""
    for name in HEADER_WORDS:
        assert isinstance(stats[name], str), name
    for name in HEADER:
        float(stats[name])
    pools = [value for value in stats.values() if isinstance(value, dict)]
    assert pools, "no pools"
    for pool in pools:
        for name in POOL:
            float(pool[name])
        for server in (value for value in pool.values() if isinstance(value, dict)):
            for name in SERVER:
                float(server[name])


def cut(text):
    """Shell scripts: sed and grep for `"requests":N` up to the comma."""
    return sum(int(rest.split(",")[0].strip("} \n")) for rest in text.split('"requests":')[1:])


def main():
    host, port = sys.argv[1], int(sys.argv[2])
    text = read_all(host, port)
    assert text.count("\n") == 1 and text.endswith("}\n"), "not one line"
    assert read_line(host, port).startswith('{"service":'), "not the same by lines"
    stats = json.loads(text, object_pairs_hook=once)
    known_names(stats)
    flat = dict(flatten(stats))
    assert all(0 <= value < 1 << 63 for value in flat.values()), "a number that a signed long cannot hold"
    requests = sum(value for name, value in flat.items() if name.endswith(".requests"))
    assert cut(text) == requests, "cut out of the text it is another number"
    for name, value in flat.items():
        print(name, value)


if __name__ == "__main__":
    try:
        main()
    except (AssertionError, KeyError, ValueError, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
