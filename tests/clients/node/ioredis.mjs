// ioredis with its default options (ready check with INFO, reconnecting) through the proxy.

import { randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';
import { LARGE, MANY, authPort, check, checkError, host, password, port, run } from './common.mjs';

async function withClient(options, use) {
  const client = new Redis({ host, port, ...options });
  client.on('error', () => {}); // reported by the command that fails
  try {
    return await use(client);
  } finally {
    client.disconnect();
  }
}

const everyByte = Buffer.from(Array.from({ length: 256 }, (_, n) => n));

await run({
  connect: () => withClient({}, async (client) => {
    check(await client.ping(), 'PONG');
    check(await client.echo('hello'), 'hello');
    check(client.status, 'ready');
  }),

  set_get: () => withClient({}, async (client) => {
    check(await client.set('io:a', '1'), 'OK');
    check(await client.get('io:a'), '1');
    check(await client.get('io:none'), null);
    check(await client.incr('io:a'), 2);
    check(await client.hset('io:h', { f: '1', g: '2' }), 2);
    check({ ...(await client.hgetall('io:h')) }, { f: '1', g: '2' });
    check(await client.del('io:h'), 1);
  }),

  mset_mget: () => withClient({}, async (client) => {
    const keys = Array.from({ length: 300 }, (_, n) => `io:m:${n}`);
    check(await client.mset(...keys.flatMap((key) => [key, `value of ${key}`])), 'OK');
    const values = keys.map((key) => `value of ${key}`);
    check(await client.mget(...keys, 'io:none', keys[0]), [...values, null, values[0]]);
  }),

  pipeline: () => withClient({}, async (client) => {
    const pipeline = client.pipeline();
    const expected = [];
    for (let n = 0; n < MANY / 2; n += 1) {
      pipeline.set(`io:p:${n}`, n).get(`io:p:${n}`);
      expected.push([null, 'OK'], [null, String(n)]);
    }
    check(await pipeline.exec(), expected);
  }),

  binary: () => withClient({}, async (client) => {
    for (const prefix of ['io:\r\n', 'io:\0', 'io:ü']) {
      const key = Buffer.concat([Buffer.from(prefix), everyByte]);
      check(await client.set(key, everyByte), 'OK');
      check(await client.getBuffer(key), everyByte);
    }
  }),

  large: () => withClient({}, async (client) => {
    const keys = ['io:l:1', 'io:l:2', 'io:l:3'];
    const values = keys.map(() => randomBytes(LARGE));
    for (const [n, key] of keys.entries()) check(await client.set(key, values[n]), 'OK');
    const got = await client.mgetBuffer(...keys);
    check(got.map((value, n) => value.equals(values[n])), [true, true, true]);
    check((await client.getBuffer(keys[1])).equals(values[1]), true);
    check(await client.del(...keys), 3);
  }),

  del_exists: () => withClient({}, async (client) => {
    const keys = Array.from({ length: 100 }, (_, n) => `io:d:${n}`);
    await client.mset(...keys.flatMap((key) => [key, 'x']));
    check(await client.exists(...keys, 'io:none', keys[0]), 101);
    check(await client.del(...keys.slice(0, 50)), 50);
    check(await client.unlink(...keys), 50);
    check(await client.exists(...keys), 0);
  }),

  error_keeps_connection: () => withClient({}, async (client) => {
    let closed = 0;
    client.on('close', () => { closed += 1; });
    await client.set('io:s', 'text');
    await checkError(/WRONGTYPE/, client.lpush('io:s', 'x'));
    await checkError(/^ERR/, client.call('NOSUCHCOMMAND', 'x'));
    await checkError(/^ERR/, client.call('GET'));
    check(await client.get('io:s'), 'text');
    check(closed, 0);
  }),

  auth: () => withClient({ port: authPort, password }, async (client) => {
    check(await client.mset('io:auth:1', 'a', 'io:auth:2', 'b', 'io:auth:3', 'c'), 'OK');
    check(await client.mget('io:auth:3', 'io:auth:1'), ['c', 'a']);
  }),

  auth_refused: async () => {
    const once = { port: authPort, retryStrategy: null, maxRetriesPerRequest: 0 };
    await checkError(/NOAUTH|Connection is closed/, withClient(once, (client) => client.get('io:auth:1')));
    await checkError(
      /WRONGPASS|invalid|NOAUTH|Connection is closed/,
      withClient({ ...once, password: 'wrong' }, (client) => client.get('io:auth:1')),
    );
  },
});
