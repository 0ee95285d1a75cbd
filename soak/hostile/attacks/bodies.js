/** Bodies: unfinished, slow, wrong, or much larger than they look. */
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';

const MEGABYTE = 1024 * 1024;
const FORM = 'application/x-www-form-urlencoded';
const JSON_TYPE = 'application/json';
const NDJSON = 'application/x-ndjson';
const OWN_TOPIC = 'https://wild.example/bodies';

/** A megabyte but for its last byte, by many. */
export async function unfinishedBodies(kit) {
  const body = Buffer.alloc(MEGABYTE - 1, 'x');
  await kit.times(
    200,
    async () => {
      const socket = await kit.open(head(kit, { length: MEGABYTE }));
      await kit.write(socket, body);
    },
    { atATime: 20 },
  );
  await kit.pause(10_000);
}

/** A byte now and then. */
export async function trickledBodies(kit) {
  const sockets = [];
  await kit.times(200, async () => {
    sockets.push(await kit.open(head(kit, { length: 10_000 })));
  });
  await kit.often(5, () => {
    for (const socket of sockets) if (socket?.writable) socket.write('x');
  });
}

/** Chunks without an end, and chunks that are none. */
export async function endlessChunks(kit) {
  await kit.often(5, async () => {
    const socket = await kit.open(head(kit, { headers: { 'Transfer-Encoding': 'chunked' } }));
    const chunk = kit.random.pick([
      `10000\r\n${'x'.repeat(0x10000)}\r\n`,
      '1\r\nx\r\n'.repeat(5_000),
      'ffffffffffffffff\r\n',
      'nonsense\r\n',
      `1;${'e'.repeat(4_000)}\r\nx\r\n`,
    ]);
    for (let sent = 0; sent < 50 && (await kit.write(socket, chunk)); sent++);
    setTimeout(() => kit.leave(socket), 1_000);
  });
}

/** Zeros, which are small as long as they are compressed. */
export async function bombs(kit) {
  const zeros = Buffer.alloc(50 * MEGABYTE);
  const made = [
    { encoding: 'gzip', body: gzipSync(zeros) },
    { encoding: 'deflate', body: deflateSync(zeros) },
    { encoding: 'br', body: brotliCompressSync(zeros) },
    { encoding: 'gzip', body: gzipSync(gzipSync(zeros)) },
    { encoding: 'gzip, gzip', body: gzipSync(gzipSync(zeros)) },
    { encoding: 'gzip', body: Buffer.from('not compressed at all') },
    { encoding: 'gzip', body: gzipSync(zeros).subarray(0, 20_000) },
    { encoding: 'zstd', body: Buffer.from('x') },
  ];
  await kit.often(20, () => {
    const { encoding, body } = kit.random.pick(made);
    const options = { type: kit.random.pick([FORM, JSON_TYPE, NDJSON]) };
    return kit.ask(
      kit.publishRequest(body, { ...options, headers: { 'Content-Encoding': encoding } }),
    );
  });
}

/** As much to parse as goes into the largest body. */
export async function bodiesThatTakeLong(kit) {
  const made = [
    { type: NDJSON, body: '\n'.repeat(1_000_000) },
    { type: NDJSON, body: ' \n'.repeat(500_000) },
    { type: NDJSON, body: '{}\n'.repeat(300_000) },
    { type: NDJSON, body: `{"topic":"${OWN_TOPIC}"}\n`.repeat(9_999) },
    { type: FORM, body: 'a&'.repeat(500_000) },
    { type: FORM, body: 'a=b&'.repeat(250_000) },
    { type: FORM, body: 'topic=x&'.repeat(125_000) },
    { type: FORM, body: '%'.repeat(1_000_000) },
    { type: FORM, body: `topic=${OWN_TOPIC}&data=${'%00'.repeat(300_000)}` },
    {
      type: JSON_TYPE,
      body: `{"topic":"${OWN_TOPIC}","data":${'['.repeat(400_000)}${']'.repeat(400_000)}}`,
    },
    { type: JSON_TYPE, body: '['.repeat(1_000_000) },
    { type: JSON_TYPE, body: '{"a":'.repeat(200_000) },
    { type: JSON_TYPE, body: `{${Array.from({ length: 70_000 }, (_, key) => `"k${key}":1`)}}` },
    { type: JSON_TYPE, body: `{"topic":"${OWN_TOPIC}","data":"${'\\u0000'.repeat(170_000)}"}` },
    { type: JSON_TYPE, body: `{"topic":"${OWN_TOPIC}","data":"${'\\n'.repeat(500_000)}"}` },
    { type: JSON_TYPE, body: `{"topic":"${OWN_TOPIC}","data":[${'1,'.repeat(400_000)}1]}` },
    { type: JSON_TYPE, body: `{"topic":"${OWN_TOPIC}","data":${'9'.repeat(900_000)}}` },
    { type: JSON_TYPE, body: `{"topic":[${'"x",'.repeat(200_000)}"x"]}` },
  ];
  await kit.often(4, () => {
    const { type, body } = kit.random.pick(made);
    return kit.ask(kit.publishRequest(body, { type }));
  });
}

/** Wrong ones of all sorts. */
export async function badBodies(kit) {
  const { random } = kit;
  const own = (fields) => JSON.stringify({ topic: OWN_TOPIC, ...fields });
  const made = [
    () => [JSON_TYPE, random.bytes(random.int(0, 300))],
    () => [NDJSON, random.bytes(random.int(0, 300))],
    () => [FORM, random.bytes(random.int(0, 300))],
    () => [JSON_TYPE, own({ retry: random.pick([-1, 1.5, 1e300, 1e21, '1', null, []]) })],
    () => [
      JSON_TYPE,
      own({ id: random.pick(['earliest', '#', 'a\nb', ' ', '1-1', 7, 'x'.repeat(300)]) }),
    ],
    () => [
      JSON_TYPE,
      own({ type: random.pick(['a\nb', '\u0000', 'x'.repeat(300), {}, '\ud800']) }),
    ],
    () => [JSON_TYPE, own({ private: random.pick(['on', 1, null]) })],
    () => [JSON_TYPE, own({ [random.text(5)]: 1 })],
    () => [
      JSON_TYPE,
      JSON.stringify({ topic: random.pick([[], '', 7, null, {}, ['x'.repeat(2_000)], ['']]) }),
    ],
    () => [JSON_TYPE, `{"topic":"${OWN_TOPIC}","__proto__":{"a":1},"constructor":1}`],
    () => [JSON_TYPE, random.pick(['null', '7', '"x"', '[]', '', '{', '\ufeff{}'])],
    () => [random.text(8), 'x'],
    () => ['text/plain; charset=nonsense', 'x'],
    () => [`${JSON_TYPE}; charset=utf-16`, '{}'],
    () => ['multipart/form-data; boundary=x', '--x--'],
  ];
  await kit.often(80, () => {
    const [type, body] = random.pick(made)();
    return kit.ask(kit.publishRequest(body, { type }));
  });
}

/** Lengths that are not so, and waiting for `100 Continue`. */
export async function wrongLengths(kit) {
  await kit.often(40, () => {
    const length = kit.random.pick([
      5,
      100_000,
      2 ** 31,
      '18446744073709551616',
      '-1',
      'x',
      '5, 6',
    ]);
    const headers = kit.random.chance(0.3)
      ? { Expect: kit.random.pick(['100-continue', 'x']) }
      : {};
    const rest = `topic=${OWN_TOPIC}&data=${kit.random.text(50)}`;
    return kit.open(Buffer.concat([head(kit, { length, headers }), Buffer.from(rest)]), {
      leavesAfterMs: kit.random.int(10, 2_000),
    });
  });
}

/** Without a token: what is refused before its body was read. */
export async function refusedBodies(kit) {
  const body = Buffer.alloc(MEGABYTE, 'x');
  await kit.often(10, () =>
    kit.ask(
      kit.request('POST', kit.random.pick(['/hub', '/message?id=x', '/', '/nothing']), {
        headers: { 'Content-Type': kit.random.pick([FORM, JSON_TYPE, 'image/png']) },
        body,
      }),
    ),
  );
}

/** The head of a publish whose body is still to come. */
function head(kit, { length, headers }) {
  return kit.request('POST', '/.well-known/mercure', {
    headers: {
      Authorization: `Bearer ${kit.wild}`,
      'Content-Type': FORM,
      'Content-Length': length,
      ...headers,
    },
  });
}
