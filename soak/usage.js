/** A mistake in the command line: it is told with the help. */
export class UsageError extends Error {}

/** @throws {UsageError} if an option is not a number. */
export function numberFrom(options, name) {
  const number = Number(options[name]);
  if (!Number.isFinite(number) || number < 0) throw new UsageError(`--${name} is a number from 0.`);
  return number;
}
