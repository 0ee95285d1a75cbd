import { beforeEach, describe, expect, test } from '@jest/globals';
import { Ledger } from '../soak/honest/ledger.js';
import { Samples } from '../soak/honest/samples.js';
import { lateMinutes, verdictOn } from '../soak/verdict.js';

describe('the ledger of a soak', () => {
  let ledger: Ledger;
  let reference: ReturnType<typeof open>;
  let slow: ReturnType<typeof open>;

  beforeEach(() => {
    ledger = new Ledger();
    reference = open('reference', true);
    slow = open('slow', false);
  });

  function open(name: string, isReference: boolean) {
    const account = ledger.openAccount(name, () => true, { isReference });
    return Object.assign(account, { openedAt: 0 });
  }

  /** Publishes so many updates, which the reference receives at the positions from 1 on. */
  function publish(count: number) {
    return Array.from({ length: count }, (_, index) => {
      const record = ledger.write(['topic'], false);
      Object.assign(record, { firstSentAt: 1, isAcknowledged: true });
      ledger.enter(reference, record, `1795196765777-${index + 1}`);
      return record;
    });
  }

  function receive(records: ReturnType<typeof publish>) {
    for (const record of records) ledger.enter(slow, record, record.id);
  }

  test('is not settled as long as a slow subscriber is behind, and then nothing is missed', () => {
    const records = publish(3);
    receive(records.slice(0, 1));
    expect(ledger.isSettled()).toBe(false);
    receive(records.slice(1));
    expect(ledger.isSettled()).toBe(true);
    ledger.close();
    expect(ledger.failures.size).toBe(0);
  });

  test('finds missed what has not come though no gap was told', () => {
    const records = publish(4);
    receive([...records.slice(0, 1), ...records.slice(2, 3)]);
    ledger.close();
    expect(ledger.failures.get('missed')?.count).toBe(2);
  });

  test('finds told, and not missed, what was trimmed when a gap was told', () => {
    const records = publish(5);
    receive(records.slice(0, 1));
    ledger.enterGap(slow, '1795196765777-4');
    receive(records.slice(3));
    ledger.close();
    expect(ledger.failures.size).toBe(0);
    expect(ledger.counts).toMatchObject({ gaps: 1, told: 2 });
  });

  test('finds missed what was still held when a gap was told, also if nothing comes after it', () => {
    const records = publish(5);
    receive(records.slice(0, 1));
    ledger.enterGap(slow, '1795196765777-3');
    receive(records.slice(3, 4));
    ledger.enterGap(slow, '1795196765777-3');
    ledger.close();
    expect(ledger.failures.get('missed')?.count).toBe(2);
  });

  test('takes a gap for no more than what comes next', () => {
    const records = publish(4);
    ledger.enterGap(slow, '1795196765777-2');
    receive([...records.slice(1, 2), ...records.slice(3)]);
    ledger.close();
    expect(ledger.failures.get('missed')?.count).toBe(1);
  });

  test('finds repeats, but not where a client came back with an id that several updates have', () => {
    const records = publish(3);
    receive(records);
    ledger.allowRepeats(slow);
    receive(records.slice(1));
    ledger.check();
    expect(ledger.failures.size).toBe(0);
    expect(ledger.counts.repeated).toBe(2);
    const next = publish(1);
    receive([...next, ...next]);
    ledger.check();
    expect(ledger.failures.get('repeated or out of order')?.count).toBe(1);
  });
});

describe('the verdict on a soak', () => {
  const limits = { maxP99: 250, maxLogLines: 60 };

  /** The windows of a soak with 40 probes in each, of which some in one window are late. */
  function windowsWith(late: number, inWindow: number, count = 12) {
    const samples = new Samples();
    return Array.from({ length: count }, (_, window) => {
      for (let probe = 0; probe < 40; probe++) {
        samples.record(window === inWindow && probe < late ? 900 : 10);
      }
      const taken = samples.takeWindow();
      return { at: 10 * (window + 1), attacks: [`attack${window}`], latency: taken, probes: taken };
    });
  }

  const lateOf = (windows: object[]) => lateMinutes({ windows }, limits);

  test('is that honest clients were late if more than one of a hundred was', () => {
    const honestWith = (late: number) => {
      const { latency } = windowsWith(late, 0, 1)[0] as { latency: object };
      return { latency, probes: latency, failures: {} };
    };
    const verdict = (late: number) =>
      verdictOn({ windows: [], honest: honestWith(late), minutes: 1 }, limits);
    expect(verdict(0)).toEqual([]);
    expect(verdict(4)).toEqual([
      expect.stringMatching(/^publish to receive: p99 9\d\d ms, more than 250 ms$/),
      expect.stringMatching(/^HEAD \/: p99 9\d\d ms, more than 250 ms$/),
    ]);
  });

  test('does not take the latest of forty probes for the latest of a hundred', () => {
    expect(lateOf(windowsWith(2, 3))).toEqual([]);
  });

  test('tells the minute in which more than one of a hundred was late, with what happened in it', () => {
    const [minute, ...others] = lateOf(windowsWith(4, 8));
    expect(minute).toMatch(
      /^publish to receive: p99 9\d\d ms in the minute that ended at 120 s, during attack6, .*attack11$/,
    );
    expect(others).toHaveLength(1);
  });

  test('looks at what comes after the last full minute, too', () => {
    expect(lateOf(windowsWith(4, 8, 9))).toHaveLength(2);
  });
});
