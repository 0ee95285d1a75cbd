import type { Entry } from '../journal/journal.js';
import { encodeFrame } from '../sse/frame.js';
import type { FrameMemory } from './frame-memory.js';

const SHORT_LIVED = { write: (frame: string) => Buffer.from(frame) };

/**
 * Makes the frames of entries. Publishing refuses what no frame can carry, but another version, or code that
 * appends to the journal itself, may not: such an entry is skipped, counted and told of. Delivery goes on.
 */
export class EntryFrames {
  readonly #report: (entry: Entry, error: unknown) => void;
  #skipped = 0;

  /** @param report told of each entry that is skipped, every time it is met. */
  constructor(report: (entry: Entry, error: unknown) => void) {
    this.#report = report;
  }

  /** How often an entry was skipped. */
  get skipped(): number {
    return this.#skipped;
  }

  /**
   * An entry as its subscribers receive it; undefined if it cannot be sent.
   *
   * @param memory where to write it, for as long as it is held.
   */
  encode(entry: Entry, memory: Pick<FrameMemory, 'write'> = SHORT_LIVED): Buffer | undefined {
    try {
      const { id, type, data, retry } = entry;
      return memory.write(encodeFrame({ id, event: type, data, retry }));
    } catch (error) {
      this.#skipped += 1;
      this.#report(entry, error);
      return undefined;
    }
  }
}
