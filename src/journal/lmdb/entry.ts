/**
 * How an entry is stored: its position is the key, all else the value.
 *
 * A value is four bytes of checksum, four that say how long its header is, the header (all but the data, as
 * JSON, without what is not set at its end) and the data as UTF-8. The checksum covers the position too, so that an entry under the key of another
 * one is found out.
 */

import { crc32 } from 'node:zlib';
import type { Entry, Position } from '../journal.js';

/** A position as a key: LMDB orders it as its numbers. */
export type Place = [epoch: number, sequence: number];

/** An entry as a value; its place is its key. What a journal of format 1 has stored lacks the last four. */
export type StoredEntry = [
  appendedAt: number,
  topics: readonly string[],
  data: string,
  isPrivate: boolean,
  type: string | null,
  retry: number | null,
  ownId: string | null,
  scope?: string | null,
  publisher?: string | null,
  isTransient?: boolean,
  isLast?: boolean,
];

export function encodeEntry(place: Place, stored: StoredEntry): Buffer {
  const header = headerOf(stored);
  const data = stored[DATA];
  const headerBytes = Buffer.byteLength(header);
  const bytes = Buffer.allocUnsafe(HEADER_AT + headerBytes + Buffer.byteLength(data));
  bytes.writeUInt32LE(headerBytes, HEADER_BYTES_AT);
  bytes.write(header, HEADER_AT);
  bytes.write(data, HEADER_AT + headerBytes);
  bytes.writeUInt32LE(checksum(place, bytes.subarray(HEADER_BYTES_AT)), 0);
  return bytes;
}

/** @returns undefined if the value is not what was stored at this place: it is damaged. */
export function decodeEntry(place: Place, bytes: Buffer): StoredEntry | undefined {
  if (bytes.length < HEADER_AT) return undefined;
  if (bytes.readUInt32LE(0) !== checksum(place, bytes.subarray(HEADER_BYTES_AT))) return undefined;
  const dataAt = HEADER_AT + bytes.readUInt32LE(HEADER_BYTES_AT);
  try {
    const header = bytes.toString('utf8', HEADER_AT, dataAt);
    if (header !== lastDecoded.header) {
      const fields = JSON.parse(header);
      if (!Array.isArray(fields)) return undefined;
      lastDecoded = { header, fields: fields as HeaderFields };
    }
    const [appendedAt, topics, isPrivate, ...rest] = lastDecoded.fields;
    return [appendedAt, topics, bytes.toString('utf8', dataAt), isPrivate ?? false, ...rest];
  } catch {
    return undefined; // Whole, but written by something else.
  }
}

/**
 * Entries that were appended together mostly have the same header. So the last one is kept, written and read: that
 * halves what it takes to encode or decode an entry of 100 bytes.
 */
let lastEncoded: { readonly stored: readonly unknown[]; readonly header: string } = {
  stored: [],
  header: '',
};
let lastDecoded: { readonly header: string; readonly fields: HeaderFields } = {
  header: '',
  fields: [0, [], false, null, null, null],
};

type HeaderFields = StoredEntry extends [infer Time, infer Topics, string, ...infer Rest]
  ? [Time, Topics, ...Rest]
  : never;

function headerOf(stored: StoredEntry): string {
  if (hasHeaderOf(lastEncoded.stored, stored)) return lastEncoded.header;
  let end = stored.length;
  // Most have little of it.
  while (end > DATA + 1 && isUnset(stored[end - 1])) end--;
  const header = JSON.stringify([...stored.slice(0, DATA), ...stored.slice(DATA + 1, end)]);
  // Without the data, which may be large.
  lastEncoded = { stored: stored.with(DATA, ''), header };
  return header;
}

/** Whether all is the same but the data; of one topic, for an equality of lists is dearer than what it saves. */
function hasHeaderOf(last: readonly unknown[], stored: StoredEntry): boolean {
  if (last.length !== stored.length) return false;
  const [before, now] = [last[TOPICS] as readonly string[], stored[TOPICS]];
  if (before.length !== 1 || now.length !== 1 || before[0] !== now[0]) return false;
  for (let field = 0; field < stored.length; field++) {
    if (field !== TOPICS && field !== DATA && last[field] !== stored[field]) return false;
  }
  return true;
}

/** Where these stand in a {@link StoredEntry}. */
const TOPICS = 1;
const DATA = 2;

export function toStored(entry: Entry, appendedAt: number): StoredEntry {
  const { id, position, topics, data, type = null, retry = null } = entry;
  const { scope = null, publisher = null, transient = false, last = false } = entry;
  const ownId = id === position ? null : id;
  const isPrivate = entry.private;
  return [
    appendedAt,
    topics,
    data,
    isPrivate,
    type,
    retry,
    ownId,
    scope,
    publisher,
    transient,
    last,
  ];
}

export function toEntry(place: Place, stored: StoredEntry): Entry {
  const [, topics, data, isPrivate, type, retry, ownId, scope, publisher, isTransient, isLast] =
    stored;
  const position = toPosition(place);
  return {
    id: ownId ?? position,
    position,
    topics,
    data,
    type: type ?? undefined,
    retry: retry ?? undefined,
    private: isPrivate,
    scope: scope ?? undefined,
    publisher: publisher ?? undefined,
    transient: isTransient || undefined,
    last: isLast || undefined,
  };
}

/** When it was appended, by the journal's clock. */
export function stampOf([appendedAt]: StoredEntry): number {
  return appendedAt;
}

export function toPosition([epoch, sequence]: Place): Position {
  return `${epoch}-${sequence}`;
}

/** A number for text at a place, which no other text or place is likely to have. */
export function checksum([epoch, sequence]: Place, text: Buffer): number {
  // Sequences of one epoch differ in the start value, and so in the result.
  return crc32(text, (Math.imul(epoch, 0x9e3779b1) ^ (epoch / 2 ** 32) ^ sequence) >>> 0);
}

export function comparePlaces(a: Place, b: Place): number {
  return a[0] - b[0] || a[1] - b[1];
}

export function topicsOf([, topics]: StoredEntry): readonly string[] {
  return topics;
}

export function ownIdOf([, , , , , , ownId]: StoredEntry): string | null {
  return ownId ?? null;
}

/** How the journal's facts are stored: as JSON behind a checksum. */
export const FACT_ENCODER = {
  encode(fact: unknown): Buffer {
    const json = Buffer.from(JSON.stringify(fact));
    const bytes = Buffer.allocUnsafe(CHECKSUM_BYTES + json.length);
    bytes.writeUInt32LE(crc32(json), 0);
    json.copy(bytes, CHECKSUM_BYTES);
    return bytes;
  },
  /** @param options - LMDB gives a longer buffer, and where the value in it ends. */
  decode(bytes: Buffer, options?: { end?: number }): unknown {
    const fact = decodeFact(bytes.subarray(0, options?.end ?? bytes.length));
    if (fact === undefined) throw new Error('a fact of the journal is damaged');
    return fact;
  },
};

/** @returns undefined if it is damaged. */
export function decodeFact(bytes: Buffer): unknown {
  if (bytes.length < CHECKSUM_BYTES) return undefined;
  const json = bytes.subarray(CHECKSUM_BYTES);
  return bytes.readUInt32LE(0) === crc32(json) ? JSON.parse(json.toString()) : undefined;
}

/** Reads a place as LMDB's keys have it: two numbers with a zero between them. */
export function readPlace(bytes: Buffer): Place | undefined {
  if (bytes.length !== PLACE_BYTES || bytes[NUMBER_BYTES] !== 0) return undefined;
  const epoch = readNumber(bytes, 0);
  const sequence = readNumber(bytes, NUMBER_BYTES + 1);
  const isPlace =
    Number.isSafeInteger(epoch) && Number.isSafeInteger(sequence) && epoch > 0 && sequence > 0;
  return isPlace ? [epoch, sequence] : undefined;
}

/** Reads a number that is the whole key, which leaves out zeros at its end. */
export function readNumberKey(bytes: Buffer): number {
  const whole = Buffer.alloc(NUMBER_BYTES);
  bytes.copy(whole);
  return readNumber(whole, 0);
}

const CHECKSUM_BYTES = 4;
const HEADER_BYTES_AT = CHECKSUM_BYTES;
const HEADER_AT = 8;
const NUMBER_BYTES = 9;
const PLACE_BYTES = 2 * NUMBER_BYTES + 1;
const float = new DataView(new ArrayBuffer(8));

function isUnset(field: unknown): boolean {
  return field === null || field === undefined || field === false;
}

/** A positive float64, shifted by four bits so that the first of them can say what follows. */
function readNumber(bytes: Buffer, at: number): number {
  const high = bytes.readUInt32BE(at);
  const low = bytes.readUInt32BE(at + 4);
  if (high >>> 28 !== 1 || ((bytes[at + 8] as number) & 0xf) !== 0) return Number.NaN;
  float.setUint32(0, ((high << 4) | (low >>> 28)) >>> 0);
  float.setUint32(4, ((low << 4) | ((bytes[at + 8] as number) >>> 4)) >>> 0);
  return float.getFloat64(0);
}
