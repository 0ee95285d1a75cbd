/** Why a limit refuses a request. As an error it is answered as it says, by what answers all errors. */
export class LimitError extends Error {
  readonly code = 'ERR_LIMIT';
  /** Its text is for the client, whatever the status. */
  readonly expose = true;
  /** 429 if it is about this client, 503 if about all together. */
  readonly status: 429 | 503;
  /** The setting that limits. */
  readonly limit: string;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: 429 | 503, limit: string, message: string, retrySeconds: number) {
    super(message);
    this.status = status;
    this.limit = limit;
    this.headers = { 'Retry-After': String(Math.max(1, Math.ceil(retrySeconds))) };
  }
}
