<?php
// phpredis with its default options through the proxy.

declare(strict_types=1);

const MANY = 10000;
const LARGE = 16 * 1024 * 1024;

ini_set('memory_limit', '512M');

function client(string $port = 'NUTHATCH_PORT'): Redis
{
    $client = new Redis();
    $client->connect(getenv('NUTHATCH_HOST'), (int) getenv($port), 5.0);
    return $client;
}

function check(mixed $actual, mixed $expected): void
{
    if ($actual !== $expected) {
        $show = fn ($value) => substr(var_export($value, true), 0, 200);
        throw new Exception('expected ' . $show($expected) . ', got ' . $show($actual));
    }
}

/** phpredis throws some error replies and returns false for others. */
function checkError(Redis $client, callable $call, string $pattern): void
{
    try {
        $answer = $call();
        check($answer, false);
        $message = $client->getLastError() ?? '';
    } catch (RedisException $error) {
        $message = $error->getMessage();
    }
    check(preg_match($pattern, $message), 1);
}

function everyByte(): string
{
    return implode('', array_map('chr', range(0, 255)));
}

$cases = [
    'connect' => function () {
        $client = client();
        check($client->ping(), true);
        check($client->echo('hello'), 'hello');
    },
    'set_get' => function () {
        $client = client();
        check($client->set('php:a', '1'), true);
        check($client->get('php:a'), '1');
        check($client->get('php:none'), false);
        check($client->incr('php:a'), 2);
        check($client->hMSet('php:h', ['f' => '1', 'g' => '2']), true);
        check($client->hGetAll('php:h'), ['f' => '1', 'g' => '2']);
        check($client->select(0), true);
        check($client->del('php:h'), 1);
    },
    'mset_mget' => function () {
        $client = client();
        $pairs = [];
        for ($n = 0; $n < 300; $n++) {
            $pairs["php:m:$n"] = "value $n";
        }
        check($client->mSet($pairs), true);
        $expected = [...array_values($pairs), false, 'value 0'];
        check($client->mGet([...array_keys($pairs), 'php:none', 'php:m:0']), $expected);
    },
    'pipeline' => function () {
        $client = client();
        $client->pipeline();
        $expected = [];
        for ($n = 0; $n < MANY / 2; $n++) {
            $client->set("php:p:$n", (string) $n);
            $client->get("php:p:$n");
            array_push($expected, true, (string) $n);
        }
        check($client->exec(), $expected);
    },
    'binary' => function () {
        $client = client();
        foreach (["php:\r\n", "php:\0", "php:\xff{", 'php:ü'] as $prefix) {
            $key = $prefix . everyByte();
            check($client->set($key, everyByte()), true);
            check($client->get($key), everyByte());
        }
    },
    'large' => function () {
        $client = client();
        $values = [];
        for ($n = 0; $n < 3; $n++) {
            $values["php:l:$n"] = str_repeat(random_bytes(1024), intdiv(LARGE, 1024));
            check($client->set("php:l:$n", $values["php:l:$n"]), true);
        }
        check($client->get('php:l:1') === $values['php:l:1'], true);
        check($client->mGet(array_keys($values)) === array_values($values), true);
        check($client->del(array_keys($values)), 3);
    },
    'del_exists' => function () {
        $client = client();
        $keys = array_map(fn ($n) => "php:d:$n", range(0, 99));
        $client->mSet(array_fill_keys($keys, 'x'));
        check($client->exists([...$keys, 'php:none', $keys[0]]), 101);
        check($client->del(array_slice($keys, 0, 50)), 50);
        check($client->unlink($keys), 50);
        check($client->exists($keys), 0);
    },
    'error_keeps_connection' => function () {
        $client = client();
        $client->set('php:s', 'text');
        checkError($client, fn () => $client->lPush('php:s', 'x'), '/WRONGTYPE/');
        $client->clearLastError();
        checkError($client, fn () => $client->rawCommand('NOSUCHCOMMAND', 'x'), '/^ERR/');
        $client->clearLastError();
        checkError($client, fn () => $client->rawCommand('GET'), '/^ERR/');
        check($client->get('php:s'), 'text');
    },
    'auth' => function () {
        $client = client('NUTHATCH_AUTH_PORT');
        check($client->auth(getenv('NUTHATCH_PASSWORD')), true);
        check($client->mSet(['php:auth:1' => 'a', 'php:auth:2' => 'b']), true);
        check($client->mGet(['php:auth:2', 'php:auth:1']), ['b', 'a']);
    },
    'auth_refused' => function () {
        $client = client('NUTHATCH_AUTH_PORT');
        checkError($client, fn () => $client->get('php:auth:1'), '/NOAUTH/');
        checkError($client, fn () => $client->auth('wrong'), '/WRONGPASS|invalid/');
    },
];

foreach ($cases as $name => $case) {
    try {
        $case();
        echo "PASS $name\n";
    } catch (Throwable $error) {
        echo "FAIL $name: ", str_replace("\n", ' ', $error->getMessage()), "\n";
    }
}
