/** How long a request may take before the user is told to try again. */
export const answerTimeoutMs = 10_000;

/** What an answer says is wrong. Errors are problem documents (RFC 9457); a proxy's page is not one. */
export async function problemOf(response: Response): Promise<string> {
  const fallback = `The server answered ${response.status}. Try again in a moment.`;
  if (!response.headers.get('content-type')?.startsWith('application/problem+json')) {
    return fallback;
  }
  const { title, detail } = await response.json().catch(() => ({}));
  return [title, detail].filter((part) => typeof part === 'string').join(': ') || fallback;
}

/** Why there is no answer, for a `fetch` that has failed. */
export function failureOf(error: unknown): string {
  return error instanceof DOMException && error.name === 'TimeoutError'
    ? `The server has not answered in ${answerTimeoutMs / 1000} seconds. Try again.`
    : 'The server cannot be reached. Try again in a moment.';
}
