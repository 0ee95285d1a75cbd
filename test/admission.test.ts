import { describe, expect, jest, test } from '@jest/globals';
import { Admission } from '../src/topics/admission.js';
import { type Addressed, select } from '../src/topics/selection.js';
import { openTestHub, selection, subscribe, update } from './support/hub.js';

const TOPICS = Array.from({ length: 100 }, (_, index) => `${index}/${'x'.repeat(1_000)}`);
const OVER = { isOver: true };

/** Asks with slices that are over at once. Returns the answer and how many slices it took. */
function ask(admission: Admission, addressed: Addressed): [boolean, number] {
  for (let slices = 1; ; slices += 1) {
    const answer = admission.of(addressed, OVER);
    if (answer !== undefined) return [answer, slices];
  }
}

describe('whether an update of a hundred topics is for a subscriber', () => {
  test('is found out in slices, one topic at least in each', () => {
    const none = new Admission(select(['{a}none'], ['*']));
    expect(ask(none, { topics: TOPICS, private: true })).toEqual([false, 101]);
    const last = new Admission(select(['99/{+a}'], ['98/{+a}']));
    expect(ask(last, { topics: TOPICS, private: false })).toEqual([true, 100]);
    expect(ask(last, { topics: TOPICS, private: true })).toEqual([true, 198]);
  });

  test('is found out anew when another update is asked for meanwhile', () => {
    const admission = new Admission(select(['99/{+a}']));
    for (let n = 0; n < 50; n++) admission.of({ topics: TOPICS, private: false }, OVER);
    expect(admission.of({ topics: ['99/y'], private: false }, OVER)).toBe(true);
    expect(ask(admission, { topics: TOPICS.toReversed(), private: false })).toEqual([true, 1]);
  });

  test('is no question of slices with a few topics', () => {
    const admission = new Admission(select(['d']));
    expect(admission.of({ topics: ['a', 'b', 'c', 'd'], private: false }, OVER)).toBe(true);
    expect(admission.of({ topics: ['a', 'b', 'c', 'e'], private: false }, OVER)).toBe(false);
  });
});

test.each([
  ['the window', undefined],
  ['the journal', 0],
])(
  'a replay from %s gets the updates of a hundred topics that are its own, in order, and no others',
  async (_, windowMaxBytes) => {
    const test = await openTestHub(windowMaxBytes === undefined ? {} : { windowMaxBytes });
    // As many variables as a token may have templates for: what takes longest to find out.
    const templates = Array.from({ length: 50 }, (_, n) => `{+a}{+b}{c:999}${n}none`);
    const wanted: string[] = [];
    for (let n = 0; n < 20; n++) {
      const isOwn = n % 3 === 0;
      if (isOwn) wanted.push(`${n}`);
      const topics = isOwn ? [...TOPICS.slice(1), 'own'] : TOPICS;
      await test.hub.publish([update(topics, `${n}`, { private: n % 2 === 0 })]);
    }
    const client = await subscribe(test, [...templates, 'own'], {
      from: 'earliest',
      grants: [...templates, 'own'],
    });
    await test.hub.publish([update('own', 'end')]);
    await client.has(wanted.length + 1);
    expect(client.data).toEqual([...wanted, 'end']);
    client.leave();
    test.hub.close();
    await test.journal.close();
  },
);

test('a cursor that is unknown, or of a private update of others, is looked for once', async () => {
  const { hub, journal } = await openTestHub();
  await hub.publish([update('a', 'x', { id: 'of others', private: true })]);
  await hub.publish([update('a', 'x', { id: 'seen' })]);
  const locate = jest.spyOn(journal, 'locate');
  for (const id of ['unknown', 'of others']) {
    expect(await hub.locate(id, selection('a'))).toMatchObject({ gap: { reason: 'unknown' } });
  }
  expect(locate).toHaveBeenCalledTimes(2);
  expect((await hub.locate('seen', selection('another'))).after).toMatch(/-2$/);
  hub.close();
  await journal.close();
});
