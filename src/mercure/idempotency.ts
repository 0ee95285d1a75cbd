import { createHash } from 'node:crypto';
import type { Context } from 'koa';
import { LRUCache } from 'lru-cache';

/** Bytes of answers that are remembered; the least recently used are forgotten first. */
const MAX_BYTES = 16 * 1024 * 1024;
/** What a remembered answer occupies beside its ids. */
const OVERHEAD_BYTES = 300;

interface Answer {
  readonly digest: string;
  readonly ids: readonly string[];
}

/**
 * Remembers what was answered under an `Idempotency-Key`, so that a publisher that saw no answer can ask
 * again without publishing twice. In memory, and bounded: a key is good for a retry, not for ever.
 */
export class IdempotencyMemory {
  readonly #answers = new LRUCache<string, Answer>({
    maxSize: MAX_BYTES,
    sizeCalculation: ({ ids }, key) =>
      ids.reduce((bytes, id) => bytes + 2 * id.length, OVERHEAD_BYTES + 2 * key.length),
  });
  /** Requests whose first answer is not there yet: a retry waits for it. */
  readonly #underWay = new Map<string, Promise<Answer>>();

  /**
   * The ids of the first call under this key. A call that fails is forgotten.
   *
   * @throws 422 if the first call had another body.
   */
  async once(
    ctx: Context,
    key: string,
    body: string,
    append: () => Promise<readonly string[]>,
  ): Promise<readonly string[]> {
    const digest = createHash('sha256').update(body).digest('base64');
    const answer = this.#answers.get(key) ?? this.#underWay.get(key);
    if (answer === undefined) return this.#first(key, digest, append);
    const first = await answer;
    if (first.digest === digest) return first.ids;
    ctx.throw(
      422,
      'This Idempotency-Key was used with another body: use a new one for each update.',
    );
  }

  async #first(
    key: string,
    digest: string,
    append: () => Promise<readonly string[]>,
  ): Promise<readonly string[]> {
    const answer = append().then((ids) => ({ digest, ids }));
    this.#underWay.set(key, answer);
    try {
      this.#answers.set(key, await answer);
    } finally {
      this.#underWay.delete(key);
    }
    return (await answer).ids;
  }
}
