/** Replays, whose cost is the service's and not the client's. */
import { costlyTemplates } from './costly.js';

const EARLIEST = { parameters: '&lastEventID=earliest' };

/** From the beginning, by templates that match next to nothing, gone before the first byte. */
export async function replaysThatLeave(kit) {
  await kit.often(40, () =>
    kit.open(kit.subscribeRequest(costlyTemplates(kit.random), EARLIEST), {
      leavesAfterMs: kit.random.int(0, 100),
    }),
  );
}

/** The same, and staying for it. */
export async function replaysByTemplates(kit) {
  await kit.times(40, () => kit.open(kit.subscribeRequest(costlyTemplates(kit.random), EARLIEST)));
  await kit.pause(10_000);
}

/** All of the journal, for many who do not read it. */
export async function replaysUnread(kit) {
  await kit.times(300, () => kit.open(kit.subscribeRequest(['*'], EARLIEST), { reads: false }));
  await kit.pause(10_000);
}

/** All of the journal, read as fast as it comes, cut off somewhere. */
export async function replaysCutOff(kit) {
  await kit.often(8, () =>
    kit.open(kit.subscribeRequest(['*'], EARLIEST), { leavesAfterMs: kit.random.int(10, 1_500) }),
  );
}

/** The newest update of every topic there is. */
export async function latestOfAll(kit) {
  const parameters = '&latest=1';
  await kit.often(20, () => {
    const selectors = kit.random.chance(0.5) ? ['*'] : costlyTemplates(kit.random);
    return kit.open(kit.subscribeRequest(selectors, { parameters }), {
      leavesAfterMs: kit.random.int(0, 1_000),
      reads: kit.random.chance(0.7),
    });
  });
}

/** Cursors that are none, and guesses at others' ids. */
export async function guessedCursors(kit) {
  const { random } = kit;
  const guesses = [
    () => random.text(random.int(1, 300)),
    () => `${Date.now() - random.int(0, 100_000)}-${random.int(0, 300_000)}`,
    () => `order:${random.int(1, 20_000)}`,
    () => `${'9'.repeat(random.int(1, 400))}-${'9'.repeat(random.int(1, 400))}`,
    () => '-1--1',
    () => '0-0',
    () =>
      random
        .bytes(random.int(1, 200))
        .toString('latin1')
        .replace(/[^\x20-\x7e\x80-\xff]/g, 'x'),
    () => 'x'.repeat(random.int(8_000, 15_000)),
    () => 'earliest ',
    () => '__proto__',
  ];
  await kit.often(80, () => {
    const guess = random.pick(guesses)();
    const inHeader = random.chance(0.5);
    const request = kit.subscribeRequest([random.pick(['*', 'a', '{b}'])], {
      headers: inHeader ? { 'Last-Event-ID': guess } : {},
      parameters: inHeader ? '' : `&lastEventID=${encodeURIComponent(guess)}`,
    });
    return kit.open(request, { leavesAfterMs: random.int(0, 300) });
  });
}
