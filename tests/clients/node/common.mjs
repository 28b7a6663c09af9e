// What the node suites share: the addresses, checks and the loop over the cases.

import { isDeepStrictEqual } from 'node:util';

const number = (name) => Number(process.env[name]);

export const host = process.env.NUTHATCH_HOST;
export const port = number('NUTHATCH_PORT');
export const authPort = number('NUTHATCH_AUTH_PORT');
export const password = process.env.NUTHATCH_PASSWORD;
export const MANY = 10_000;
export const LARGE = 16 * 1024 * 1024;

const show = (value) => String(JSON.stringify(value)).slice(0, 200);

export function check(actual, expected) {
  if (!isDeepStrictEqual(actual, expected)) {
    throw new Error(`expected ${show(expected)}, got ${show(actual)}`);
  }
}

/** Passes if the promise fails with an error that matches. */
export async function checkError(pattern, promise) {
  let answer;
  try {
    answer = await promise;
  } catch (error) {
    if (pattern.test(error.message)) return;
    throw error;
  }
  throw new Error(`expected an error, got ${show(answer)}`);
}

const CASE_LIMIT_MS = 60_000;

export async function run(cases) {
  for (const [name, test] of Object.entries(cases)) {
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error('no answer')), CASE_LIMIT_MS);
    });
    try {
      await Promise.race([test(), late]);
      console.log(`PASS ${name}`);
    } catch (error) {
      console.log(`FAIL ${name}: ${error.message.replaceAll('\n', ' ')}`);
    } finally {
      clearTimeout(timer);
    }
  }
  process.exit();
}
