/**
 * The wire format: text in, one frame out. Pure functions, no streams.
 *
 * Specification: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
 */

/** One event as the server writes it. Every field is optional; each that is present is written. */
export interface SseEvent {
  /** Becomes the client's last event id, which it sends back on reconnect. No CR, LF or NUL. */
  readonly id?: string | undefined;
  /** The name browsers dispatch the event under (`addEventListener(name)`); `message` if absent. No CR or LF. */
  readonly event?: string | undefined;
  /**
   * The payload, of any number of lines; CRLF and CR arrive as LF. Without `data` a browser dispatches
   * nothing and only takes over `id` and `retry`; the empty string dispatches an event with empty data.
   */
  readonly data?: string | undefined;
  /** The payload as what `JSON.stringify` makes of this, instead of `data`. */
  readonly json?: unknown;
  /** Milliseconds that the client waits before it reconnects: a non-negative integer. */
  readonly retry?: number | undefined;
}

/** What is wrong with a field: see the message of the {@link FrameError}. */
export type FrameErrorCode =
  | 'ERR_FIELD_TYPE'
  | 'ERR_FIELD_LINE_BREAK'
  | 'ERR_FIELD_NUL'
  | 'ERR_JSON'
  | 'ERR_RETRY';

/** A field that cannot be written without changing its meaning, or another field's. */
export class FrameError extends TypeError {
  /** What is wrong. */
  readonly code: FrameErrorCode;
  /** The field that it is wrong with. */
  readonly field: keyof SseEvent;

  constructor(code: FrameErrorCode, field: keyof SseEvent, message: string) {
    super(message);
    this.name = 'FrameError';
    this.code = code;
    this.field = field;
  }
}

/**
 * Encodes one event. The result ends with the empty line that makes a client dispatch it.
 *
 * Text that is not well-formed UTF-16 (a lone surrogate) arrives as U+FFFD: UTF-8 cannot carry it.
 *
 * @param event its fields.
 * @throws {FrameError} for a field that holds what it cannot carry; nothing is stripped in silence.
 */
export function encodeFrame({ id, event, data, json, retry }: SseEvent): string {
  let frame = '';
  if (id !== undefined) {
    assertSingleLine('id', id);
    // "If the field value does not contain U+0000 NULL, then set the last event ID buffer to the field
    // value. Otherwise, ignore the field": such an id would be lost without a word.
    if (id.includes('\0')) {
      throw new FrameError(
        'ERR_FIELD_NUL',
        'id',
        'id contains NUL, which makes clients ignore it.',
      );
    }
    frame += `id: ${id}\n`;
  }
  if (event !== undefined) {
    assertSingleLine('event', event);
    frame += `event: ${event}\n`;
  }
  if (data !== undefined) {
    assertString('data', data);
    frame += encodeLines('data: ', data);
  }
  if (json !== undefined) {
    if (data !== undefined) {
      throw new FrameError(
        'ERR_JSON',
        'json',
        'An event has its payload as data or as json, not both.',
      );
    }
    frame += `data: ${encodeJson(json)}\n`; // Which has no line breaks.
  }
  if (retry !== undefined) {
    // "If the field value consists of only ASCII digits": 1e21 or 0.5 would be ignored by clients.
    if (!Number.isSafeInteger(retry) || retry < 0) {
      throw new FrameError(
        'ERR_RETRY',
        'retry',
        `retry is a non-negative integer of milliseconds, not ${String(retry)}.`,
      );
    }
    frame += `retry: ${retry}\n`;
  }
  return `${frame}\n`;
}

/**
 * Encodes a comment, which clients ignore: a heartbeat. It ends with an empty line too, since the
 * strictest readers wait for one.
 */
export function encodeComment(text = ''): string {
  if (typeof text !== 'string') throw new TypeError(`A comment is a string, not ${typeof text}.`);
  return `${encodeLines(text === '' ? ':' : ': ', text)}\n`;
}

function encodeJson(value: unknown): string {
  let text: string | undefined;
  let reason = 'JSON has no such value';
  try {
    text = JSON.stringify(value);
  } catch (error) {
    reason = (error as Error).message.split('\n', 1)[0] as string; // Or a drawing of the circle follows.
  }
  if (text !== undefined) return text;
  throw new FrameError(
    'ERR_JSON',
    'json',
    `json is not a value that can be written as JSON (${typeof value}): ${reason}.`,
  );
}

/** One prefixed line per line of text; CRLF, CR and LF each end a line, as they do for the client. */
function encodeLines(prefix: string, text: string): string {
  if (!/[\r\n]/.test(text)) return `${prefix}${text}\n`;
  return `${prefix}${text.replace(/\r\n|\r|\n/g, `\n${prefix}`)}\n`;
}

function assertSingleLine(field: 'id' | 'event', value: string): void {
  assertString(field, value);
  if (/[\r\n]/.test(value)) {
    throw new FrameError(
      'ERR_FIELD_LINE_BREAK',
      field,
      `${field} contains a line break, which would start another field.`,
    );
  }
}

function assertString(field: 'id' | 'event' | 'data', value: unknown): asserts value is string {
  if (typeof value !== 'string') {
    throw new FrameError('ERR_FIELD_TYPE', field, `${field} is a string, not ${typeof value}.`);
  }
}
