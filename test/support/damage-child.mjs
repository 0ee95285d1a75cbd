/**
 * Opens each journal whose directory is given, replays it, appends to it and says what came of it, on a line of JSON.
 * A damaged file may end this process; then the lines for it and the others are missing.
 */
import { openJournal } from '../../dist/hub/index.js';

const ALL = { maxEntries: 1_000_000, maxLength: Number.MAX_SAFE_INTEGER };

for (const directory of process.argv.slice(2)) console.log(JSON.stringify(await replay(directory)));

async function replay(directory) {
  let reported = 0;
  let journal;
  try {
    const onDamage = ({ total }) => {
      reported = total;
    };
    journal = await openJournal(`lmdb:${directory}`, { sync: 'os', onDamage });
  } catch ({ code, message }) {
    return { refused: { code, message } };
  }
  try {
    const reads = [];
    for (const topics of [undefined, ['t'], ['u1']]) {
      reads.push({ topics, ...(await journal.read({ ...ALL, topics })) });
    }
    await journal.append([{ topics: ['t'], data: 'goes on', private: false }]);
    return { reads, reported };
  } catch ({ code, message }) {
    return { failed: { code, message } };
  } finally {
    await journal.close();
  }
}
