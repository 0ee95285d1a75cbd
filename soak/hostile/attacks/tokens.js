/** Tokens that are not good, or good for nothing. */
import { sign, token } from '../../tokens.js';

export async function badTokens(kit) {
  const { random } = kit;
  const now = Math.floor(Date.now() / 1_000);
  const all = { publish: ['*'], subscribe: ['*'] };
  const good = token(all);
  const bad = [
    () => '',
    () => random.text(random.int(1, 100)),
    () => '..',
    () => good.slice(0, -random.int(1, 20)),
    () => `${good}x`,
    () => sign({ mercure: all }, { key: random.text(40) }),
    () => sign({ mercure: all }, { key: '' }),
    () => sign({ mercure: all }, { header: { alg: 'none' } }),
    () => sign({ mercure: all }, { header: { alg: 'RS256' } }),
    () => sign({ mercure: all }, { header: { alg: 'HS256', crit: ['x'], x: 1 } }),
    () =>
      sign(
        { mercure: all },
        { header: { alg: 'HS256', kid: 'x'.repeat(1_000), jku: 'http://127.0.0.1' } },
      ),
    () => sign({ mercure: all, exp: now - random.int(0, 1_000) }),
    () => sign({ mercure: all, nbf: now + 1_000 }),
    () => sign({ mercure: all, exp: random.pick(['x', -1, 1e308, null]) }),
    () => sign({ mercure: random.pick([7, 'x', [], { publish: 'x' }, { publish: [7] }]) }),
    () => token({ publish: Array.from({ length: 101 }, () => 'x') }),
    () => token({ publish: ['{a}'.repeat(30)] }),
    () => token({ publish: ['x'.repeat(7_000)] }),
    () => random.text(random.pick([8_193, 12_000, 15_000])),
    () => '\u00ff\u00fe',
  ];
  await kit.often(100, () => {
    const text = random.pick(bad)();
    const inHeader = { headers: { Authorization: `Bearer ${text}` } };
    const inCookie = { headers: { Cookie: `mercureAuthorization=${text}` } };
    const inQuery = { parameters: `&authorization=${encodeURIComponent(text)}` };
    const request = random.pick([
      () => kit.subscribeRequest(['a'], random.pick([inHeader, inCookie, inQuery])),
      () => kit.publishRequest('topic=a&data=b', { bearer: text }),
    ])();
    return kit.open(request, { leavesAfterMs: 300 });
  });
}

/** Good ones, each different, so that remembering them does not help. */
export async function manyTokens(kit) {
  await kit.often(80, () => {
    const subscribe = Array.from({ length: 50 }, () => `{+a}${kit.random.text(6)}`);
    return kit.open(kit.subscribeRequest(['*'], { bearer: kit.tokenOf({ subscribe }) }), {
      leavesAfterMs: kit.random.int(0, 2_000),
    });
  });
}

/** They end a moment after their streams have begun. */
export async function tokensThatEnd(kit) {
  await kit.often(30, () => {
    const exp = Math.floor(Date.now() / 1_000) + kit.random.int(1, 3);
    return kit.open(kit.subscribeRequest(['*'], { bearer: token({}, { exp }) }), {
      reads: kit.random.chance(0.5),
      leavesAfterMs: 5_000,
    });
  });
}
