import { equal, rejects } from './assertions.js';
import { group } from './case.js';
import { allTopics, dataOf, listen, NO_LIMIT, newestOf, readAll, update } from './tools.js';

export const closing = group('close', (test) => {
  test('finishes the appends under way, then refuses everything but to close again', async ({
    open,
  }) => {
    const journal = await open();
    const heard = await listen(journal);
    const appends = Array.from({ length: 100 }, (_, n) => journal.append([update(`${n}`)]));
    const closed = journal.close();
    await rejects(journal.append([update('late')]), 'ERR_JOURNAL_CLOSED');
    await Promise.all(appends);
    await closed;
    equal(heard.length, 100);
    await journal.close();
    for (const call of [
      () => journal.append([update('late')]),
      () => journal.read(NO_LIMIT),
      () => journal.locate('x'),
      () => allTopics(journal),
      () => newestOf(journal, 't', 1),
      () => journal.bounds(),
      () => journal.ping(),
      () => journal.follow({ entries: () => {}, lost: () => {} }),
    ]) {
      await rejects(call(), 'ERR_JOURNAL_CLOSED');
    }
    equal(heard.length, 100);
  });
  test('after ping resolves, alone and among appends, nothing is appended', async ({ open }) => {
    const journal = await open();
    await journal.ping();
    await Promise.all([journal.append([update('a')]), journal.ping(), journal.ping()]);
    equal(dataOf(await readAll(journal)), ['a']);
  });
});
