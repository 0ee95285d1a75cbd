/** The longest delay that Node's timers keep: a longer one would fire at once. */
export const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * Refuses options that nobody reads, such as one with a typing error: they would be lost without a word.
 *
 * @param of what has the options, as its caller knows it.
 * @throws {TypeError} which names the options that there are.
 */
export function assertKnown(of: string, options: object, known: readonly string[]): void {
  if (typeof options !== 'object' || options === null) {
    throw new TypeError(
      `The options of ${of} are an object, not ${options === null ? 'null' : typeof options}.`,
    );
  }
  const unknown = Object.keys(options).find((name) => !known.includes(name));
  if (unknown === undefined) return;
  throw new TypeError(
    `${of} has no option ${JSON.stringify(unknown)}. It has: ${known.join(', ')}.`,
  );
}

/** @throws {RangeError} which names the option and its range. */
export function assertWholeNumber(
  name: string,
  value: number,
  max: number = Number.MAX_SAFE_INTEGER,
): void {
  if (!Number.isInteger(value) || value < 0 || value > max) {
    throw new RangeError(`${name} is a whole number from 0 to ${max}, not ${String(value)}.`);
  }
}
