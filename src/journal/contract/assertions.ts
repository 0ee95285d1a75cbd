/** What the cases claim with. Members that are undefined count as left out. */

import assert from 'node:assert/strict';
import { comparePositions, type EntryRef, type JournalErrorCode } from '../journal.js';

export function ok(holds: boolean, message?: string): void {
  assert.ok(holds, message);
}

export function equal(actual: unknown, expected: unknown, message?: string): void {
  assert.deepEqual(withoutUndefined(actual), withoutUndefined(expected), message);
}

/** An object has at least these members. */
export function matches(actual: object, expected: object): void {
  const members = Object.keys(expected).map((key) => [key, actual[key as keyof object]]);
  equal(Object.fromEntries(members), expected);
}

/** A call fails with a `JournalError` of this code, whose text may be asked about. */
export async function rejects(
  call: Promise<unknown>,
  code: JournalErrorCode,
  message: RegExp = /./,
): Promise<void> {
  await assert.rejects(call, { name: 'JournalError', code, message });
}

export function ascends(refs: readonly EntryRef[]): void {
  for (const [index, { position }] of refs.slice(1).entries()) {
    const { position: before } = refs[index] as EntryRef;
    ok(comparePositions(before, position) < 0, `${position} stands after ${before}`);
  }
}

function withoutUndefined(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutUndefined);
  if (typeof value !== 'object' || value === null || value instanceof Set) return value;
  const members = Object.entries(value).filter(([, member]) => member !== undefined);
  return Object.fromEntries(members.map(([key, member]) => [key, withoutUndefined(member)]));
}
