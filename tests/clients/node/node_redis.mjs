// node-redis with its default options (HELLO, CLIENT SETINFO, automatic pipelining) through the proxy.

import { randomBytes } from 'node:crypto';
import { RESP_TYPES, createClient } from 'redis';
import { LARGE, MANY, authPort, check, checkError, host, password, port, run } from './common.mjs';

async function withClient(options, use) {
  const client = createClient({ socket: { host, port, ...options.socket }, password: options.password });
  client.on('error', () => {}); // reported by the command that fails
  try {
    await client.connect();
    return await use(client, client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer }));
  } finally {
    client.destroy();
  }
}

const everyByte = Buffer.from(Array.from({ length: 256 }, (_, n) => n));

await run({
  connect: () => withClient({}, async (client) => {
    check(await client.ping(), 'PONG');
    check(await client.echo('hello'), 'hello');
  }),

  set_get: () => withClient({}, async (client) => {
    check(await client.set('nr:a', '1'), 'OK');
    check(await client.get('nr:a'), '1');
    check(await client.get('nr:none'), null);
    check(await client.incr('nr:a'), 2);
    check(await client.hSet('nr:h', { f: '1', g: '2' }), 2);
    check({ ...(await client.hGetAll('nr:h')) }, { f: '1', g: '2' });
    check(await client.del('nr:h'), 1);
  }),

  mset_mget: () => withClient({}, async (client) => {
    const keys = Array.from({ length: 300 }, (_, n) => `nr:m:${n}`);
    check(await client.mSet(keys.map((key) => [key, `value of ${key}`])), 'OK');
    const values = keys.map((key) => `value of ${key}`);
    check(await client.mGet([...keys, 'nr:none', keys[0]]), [...values, null, values[0]]);
  }),

  pipeline: () => withClient({}, async (client) => {
    const replies = [];
    const expected = [];
    for (let n = 0; n < MANY / 2; n += 1) {
      replies.push(client.set(`nr:p:${n}`, String(n)), client.get(`nr:p:${n}`));
      expected.push('OK', String(n));
    }
    check(await Promise.all(replies), expected);
  }),

  binary: () => withClient({}, async (client, binary) => {
    for (const prefix of ['nr:\r\n', 'nr:\0', 'nr:ü']) {
      const key = Buffer.concat([Buffer.from(prefix), everyByte]);
      check(await client.set(key, everyByte), 'OK');
      check(await binary.get(key), everyByte);
    }
  }),

  large: () => withClient({}, async (client, binary) => {
    const keys = ['nr:l:1', 'nr:l:2', 'nr:l:3'];
    const values = keys.map(() => randomBytes(LARGE));
    for (const [n, key] of keys.entries()) check(await client.set(key, values[n]), 'OK');
    const got = await binary.mGet(keys);
    check(got.map((value, n) => value.equals(values[n])), [true, true, true]);
    check((await binary.get(keys[1])).equals(values[1]), true);
    check(await client.del(keys), 3);
  }),

  del_exists: () => withClient({}, async (client) => {
    const keys = Array.from({ length: 100 }, (_, n) => `nr:d:${n}`);
    await client.mSet(keys.map((key) => [key, 'x']));
    check(await client.exists([...keys, 'nr:none', keys[0]]), 101);
    check(await client.del(keys.slice(0, 50)), 50);
    check(await client.unlink(keys), 50);
    check(await client.exists(keys), 0);
  }),

  error_keeps_connection: () => withClient({}, async (client) => {
    let reconnects = 0;
    client.on('reconnecting', () => { reconnects += 1; });
    await client.set('nr:s', 'text');
    await checkError(/WRONGTYPE/, client.lPush('nr:s', 'x'));
    await checkError(/^ERR/, client.sendCommand(['NOSUCHCOMMAND', 'x']));
    await checkError(/^ERR/, client.sendCommand(['GET']));
    check(await client.get('nr:s'), 'text');
    check(reconnects, 0);
  }),

  auth: () => withClient({ socket: { port: authPort }, password }, async (client) => {
    check(await client.mSet([['nr:auth:1', 'a'], ['nr:auth:2', 'b'], ['nr:auth:3', 'c']]), 'OK');
    check(await client.mGet(['nr:auth:3', 'nr:auth:1']), ['c', 'a']);
  }),

  auth_refused: async () => {
    const once = { socket: { port: authPort, reconnectStrategy: false } };
    await checkError(/NOAUTH/, withClient(once, (client) => client.get('nr:auth:1')));
    await checkError(
      /WRONGPASS|invalid/,
      withClient({ ...once, password: 'wrong' }, (client) => client.get('nr:auth:1')),
    );
  },
});
