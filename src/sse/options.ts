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
