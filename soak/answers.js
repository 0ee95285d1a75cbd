/** Which answers of the 5xx kind a client may get: 503, which says when to come back, and why. */

/** A setting, as problem documents name the limit that was met. */
const SETTING = /\b[A-Z]+(?:_[A-Z]+)+\b/;

/**
 * Why an answer must not be; undefined if it may.
 *
 * @param namesLimit whether a 503 has to name the limit that was met: where nothing else can be the reason.
 */
export function objectionTo({ status, retryAfter, type = '', text }, { namesLimit = true } = {}) {
  if (status < 500) return undefined;
  if (status !== 503) return `${status}: ${text.slice(0, 300)}`;
  if (retryAfter === undefined) return `503 without Retry-After: ${text.slice(0, 300)}`;
  if (!type.startsWith('application/problem+json'))
    return `503 that is no problem document: ${type}`;
  if (namesLimit && !SETTING.test(text)) return `503 that names no limit: ${text.slice(0, 300)}`;
  return undefined;
}
