/** What a keeper tells the operator, such as that its server is away. */
export interface Notice {
  /** How much it matters. */
  readonly level: 'info' | 'warn' | 'error';
  /** What has happened: a name from the code. What is alike has the same one. */
  readonly event: string;
  /** The same as a sentence. */
  readonly message: string;
  readonly [field: string]: unknown;
}

/** Who is told. It does not throw. */
export type OnNotice = (notice: Notice) => void;
