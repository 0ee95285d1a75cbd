/**
 * At most so many bytes are put together for one write. What is queued for a client that stops reading is bounded
 * by one of these, and by one frame if that is larger.
 */
export const CHUNK_BYTES = 48 * 1024;

/** Frames from this size on are written as they are: copying costs more than a write. */
const SHARED_BYTES = 16 * 1024;

/** What a comment starts with, and no field does. */
const COLON = 0x3a;

/** Frames that are written together. */
export interface Chunk {
  readonly bytes: Buffer;
  /** The index of its first frame. */
  readonly first: number;
  /** How many of its frames are events, and not comments. */
  readonly events: number;
}

/**
 * Puts small frames together, in order. Large ones are shared as they are: whoever else is sent them holds the same
 * bytes.
 */
export function inChunks(frames: readonly Buffer[]): Chunk[] {
  const chunks: Chunk[] = [];
  let first = 0;
  let bytes = 0;
  let events = 0;
  const cut = (end: number): void => {
    if (end > first) chunks.push({ bytes: concat(frames.slice(first, end)), first, events });
    first = end;
    bytes = 0;
    events = 0;
  };
  for (const [index, frame] of frames.entries()) {
    const { length } = frame;
    const isShared = length >= SHARED_BYTES;
    if (isShared || bytes + length > CHUNK_BYTES) cut(index);
    bytes += length;
    if (frame[0] !== COLON) events += 1;
    if (isShared) cut(index + 1);
  }
  cut(frames.length);
  return chunks;
}

function concat(frames: readonly Buffer[]): Buffer {
  return frames.length === 1 ? (frames[0] as Buffer) : Buffer.concat(frames);
}
