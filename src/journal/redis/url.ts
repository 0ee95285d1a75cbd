/** What is known of a journal's URL without the client of Redis. */

/** What the names of all keys begin with, unless a setting says otherwise. */
export const DEFAULT_PREFIX = 'sse-hub';

/** Whether a URL names a Redis, maybe not as it should. */
export function isRedis(url: string): boolean {
  return /^rediss?(\+\w+)?:\/\//.test(url);
}

/** A URL for the log: without the names and passwords that it has, also where it is not of the form that it should be. */
export function redact(url: string): string {
  return url
    .replace(/^([a-z+]*:(?:\/\/)?)?.*@/is, '$1***@')
    .replace(/(password=)[^&#]*/gi, '$1***');
}
