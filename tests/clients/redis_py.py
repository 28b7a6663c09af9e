"""redis-py with its default options (RESP3, HELLO, CLIENT SETINFO) through the proxy."""

import os
import sys

import redis

HOST = os.environ["NUTHATCH_HOST"]
PORT = int(os.environ["NUTHATCH_PORT"])
AUTH_PORT = int(os.environ["NUTHATCH_AUTH_PORT"])
PASSWORD = os.environ["NUTHATCH_PASSWORD"]
MANY = 10_000
LARGE = 16 * 1024 * 1024


def connect():
    return redis.Redis(HOST, PORT)


def check(actual, expected):
    if actual != expected:
        raise AssertionError(f"expected {expected!r:.200}, got {actual!r:.200}")


def check_error(kind, call, *arguments):
    try:
        answer = call(*arguments)
    except kind as error:
        return str(error)
    raise AssertionError(f"expected {kind.__name__}, got {answer!r:.200}")


def case_connect():
    client = connect()
    check(client.ping(), True)
    check(client.echo("hello"), b"hello")


def case_set_get():
    client = connect()
    check(client.set("py:a", "1"), True)
    check(client.get("py:a"), b"1")
    check(client.get("py:none"), None)
    check(client.incr("py:a"), 2)
    check(client.hset("py:h", mapping={"f": "1", "g": "2"}), 2)
    check(client.hgetall("py:h"), {b"f": b"1", b"g": b"2"})
    check(client.zadd("py:z", {"m": 1.5}), 1)
    check(client.zscore("py:z", "m"), 1.5)
    check(client.delete("py:h", "py:z"), 2)


def case_mset_mget():
    client = connect()
    pairs = {f"py:m:{n}": f"value {n}" for n in range(300)}
    check(client.mset(pairs), True)
    expected = [value.encode() for value in pairs.values()]
    check(client.mget([*pairs, "py:none", "py:m:0"]), [*expected, None, b"value 0"])


def case_pipeline():
    client = connect()
    pipe = client.pipeline(transaction=False)
    for n in range(MANY // 2):
        pipe.set(f"py:p:{n}", n)
        pipe.get(f"py:p:{n}")
    replies = pipe.execute()
    check(replies, [reply for n in range(MANY // 2) for reply in (True, str(n).encode())])


def case_binary():
    client = connect()
    every_byte = bytes(range(256))
    for key in (b"py:\r\n" + every_byte, b"py:\x00", b"py:\xff{", "py:ü"):
        check(client.set(key, every_byte * 3), True)
        check(client.get(key), every_byte * 3)
    check(client.set("py:empty", b""), True)
    check(client.get("py:empty"), b"")


def case_large():
    client = connect()
    values = {f"py:l:{n}": os.urandom(1024) * (LARGE // 1024) for n in range(3)}
    for key, value in values.items():
        check(client.set(key, value), True)
    for key, value in values.items():
        check(client.get(key) == value, True)
    check(client.mget(list(values)) == list(values.values()), True)
    check(client.delete(*values), 3)


def case_del_exists():
    client = connect()
    keys = [f"py:d:{n}" for n in range(100)]
    client.mset(dict.fromkeys(keys, "x"))
    check(client.exists(*keys, "py:none", keys[0]), 101)
    check(client.touch(*keys), 100)
    check(client.delete(*keys[:50]), 50)
    check(client.unlink(*keys), 50)
    check(client.exists(*keys), 0)


def case_error_keeps_connection():
    client = redis.Redis(HOST, PORT, single_connection_client=True)
    client.set("py:s", "text")
    socket = client.connection._sock
    check_error(redis.ResponseError, client.lpush, "py:s", "x")
    check_error(redis.ResponseError, client.execute_command, "NOSUCHCOMMAND", "x")
    check_error(redis.ResponseError, client.execute_command, "GET")
    check(client.get("py:s"), b"text")
    check(client.connection._sock is socket, True)


def case_resp2():
    client = redis.Redis(HOST, PORT, protocol=2)
    check(client.set("py:r2", "1"), True)
    check(client.get("py:r2"), b"1")
    check(client.get("py:none"), None)


def case_auth():
    client = redis.Redis(HOST, AUTH_PORT, password=PASSWORD)
    check(client.mset({f"py:auth:{n}": n for n in range(20)}), True)
    check(client.mget("py:auth:3", "py:auth:4"), [b"3", b"4"])
    old = redis.Redis(HOST, AUTH_PORT, password=PASSWORD, protocol=2)
    check(old.get("py:auth:3"), b"3")


def case_auth_refused():
    check_error(redis.AuthenticationError, redis.Redis(HOST, AUTH_PORT, password="wrong").ping)
    check_error(redis.AuthenticationError, redis.Redis(HOST, AUTH_PORT).get, "py:auth:3")


def main():
    for name, case in list(globals().items()):
        if name.startswith("case_"):
            try:
                case()
                print(f"PASS {name[5:]}", flush=True)
            except Exception as error:
                print(f"FAIL {name[5:]}: {type(error).__name__}: {error}".replace("\n", " "), flush=True)


sys.exit(main())
