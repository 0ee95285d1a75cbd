/** Clients that do not read, or hardly. */

const LARGE_BYTES = 200_000;

/** Each has a selection of its own, and large updates for all of them are published. */
export async function deafWithSelectionsOfTheirOwn(kit) {
  const topic = `https://wild.example/large/${kit.random.text(6)}`;
  await kit.times(300, () =>
    kit.open(kit.subscribeRequest([topic, kit.random.text(12)]), { reads: false }),
  );
  await publishLarge(kit, topic);
}

/** Everything, never read. */
export async function deafToEverything(kit) {
  await kit.times(300, () => kit.open(kit.subscribeRequest(['*']), { reads: false }));
  await publishLarge(kit, `https://wild.example/large/${kit.random.text(6)}`);
}

/** One byte a second. */
export async function oneByteASecond(kit) {
  const sockets = [];
  await kit.times(200, async () => {
    const request = kit.subscribeRequest(['*'], {
      parameters: kit.random.pick(['', '&lastEventID=earliest', '&latest=1']),
    });
    sockets.push(await kit.open(request, { reads: false }));
  });
  await kit.often(1, () => {
    for (const socket of sockets) socket?.read(1);
  });
}

/** They read nothing for a while, then everything, again and again. */
export async function readersInJerks(kit) {
  const sockets = [];
  await kit.times(50, async () => {
    sockets.push(await kit.open(kit.subscribeRequest(['*'])));
  });
  await kit.often(2, () => {
    for (const socket of sockets) {
      if (kit.random.chance(0.5)) socket?.pause();
      else socket?.resume();
    }
  });
}

/** The clock, the counter and the time, never read. */
export async function deafToFeeds(kit) {
  await kit.times(300, () =>
    kit.open(kit.request('GET', kit.random.pick(['/stream', '/events', '/counter'])), {
      reads: false,
    }),
  );
  await kit.pause(10_000);
}

async function publishLarge(kit, topic) {
  const body = new URLSearchParams({ topic, data: 'x'.repeat(LARGE_BYTES) }).toString();
  await kit.often(5, () => kit.ask(kit.publishRequest(body)));
}
