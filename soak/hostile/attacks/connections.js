/** Connections: too many of them, and their ends. */

/** They say nothing. */
export async function idleConnections(kit) {
  let count = 0;
  await kit.often(500, async () => {
    if (count++ < 3_000) await kit.open();
  });
}

/** More streams than are allowed, or than this process may open. */
export async function tooManyStreams(kit) {
  const request = () => kit.subscribeRequest(['nothing']);
  await kit.times(10_500, () => kit.open(request(), { untilAnswered: true }), { atATime: 100 });
  await kit.pause(1_000);
}

/** All from one address. */
export async function streamsOfOneAddress(kit) {
  const { address } = kit;
  const headers = { 'X-Forwarded-For': address };
  await kit.times(500, () => kit.open(kit.subscribeRequest(['a'], { headers })));
  await kit.pause(2_000);
}

/** Addresses that a client makes up, in front of what the proxy adds. */
export async function forgedAddresses(kit) {
  const { random } = kit;
  const forged = [
    '127.0.0.1',
    '::1',
    'unknown',
    '10.0.0.1:80',
    '"[::1]:80"',
    '1.2.3.4.5',
    ',',
    '%00',
  ];
  await kit.often(60, () => {
    const list = Array.from({ length: random.int(1, 8) }, () => random.pick(forged)).join(', ');
    const headers = {
      'X-Forwarded-For': `${list}, ${kit.address}`,
      Forwarded: `for=${random.pick(forged)}`,
    };
    return kit.open(kit.subscribeRequest(['a'], { headers }), {
      leavesAfterMs: random.int(0, 300),
    });
  });
}

/** Reset in the middle of everything. */
export async function resets(kit) {
  const { random } = kit;
  await kit.often(300, () => {
    const request = random.pick([
      () =>
        kit.subscribeRequest(['*'], {
          parameters: random.pick(['', '&latest=1', '&lastEventID=earliest']),
        }),
      () => kit.publishRequest(`topic=https://wild.example/r&data=${random.text(50)}`),
      () => kit.request('GET', random.pick(['/', '/stream', '/messages', '/counter', '/assets/x'])),
      () => kit.request('HEAD', '/hub?topic=a'),
    ])();
    const cut = random.chance(0.3) ? request.subarray(0, random.int(1, request.length)) : request;
    return kit.open(cut, { leavesAfterMs: random.pick([0, 0, 1, 2, 5, 20]) });
  });
}

/** The writing side is closed at once, and the answer awaited. */
export async function halfClosed(kit) {
  await kit.often(60, async () => {
    const socket = await kit.open(
      kit.random.chance(0.5)
        ? kit.subscribeRequest(['*'])
        : kit.publishRequest('topic=https://wild.example/h'),
      { leavesAfterMs: 1_000 },
    );
    socket?.end();
  });
}
