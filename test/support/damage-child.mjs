/**
 * Opens each journal whose directory is given, replays it, repeats appends under keys, lists its endings, appends to it
 * and says what came of it, on a line of JSON. The first argument is how many appends under keys there are.
 * A damaged file may end this process; then the lines for it and the others are missing.
 */
import { openJournal } from '../../dist/hub/index.js';

const ALL = { maxEntries: 1_000_000, maxLength: Number.MAX_SAFE_INTEGER };

const [keys, ...directories] = process.argv.slice(2);
for (const directory of directories) console.log(JSON.stringify(await replay(directory)));

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
    const repeats = [];
    for (let n = 0; n < keys; n++) {
      const keyed = { topics: ['t'], data: `under key ${n}`, private: false };
      repeats.push(...(await journal.append([keyed], { key: { key: `key ${n}`, digest: 'd' } })));
    }
    const endings = [];
    for await (const page of journal.endings()) endings.push(...page);
    await journal.append([{ topics: ['t'], data: 'goes on', private: false }]);
    return { reads, repeats, endings, reported };
  } catch ({ code, message }) {
    return { failed: { code, message } };
  } finally {
    await journal.close();
  }
}
