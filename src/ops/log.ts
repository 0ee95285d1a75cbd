import pino from 'pino';
import type { LeveledLog, LogEntry, LogLevel } from '../log.js';

/** How entries are written: a JSON object in each line, or the message alone. */
export type LogFormat = 'json' | 'text';

/** The settings of the operator's log. */
export interface LogSettings {
  /** Entries of less are not written. */
  readonly LOG_LEVEL: LogLevel;
  /** Default: JSON in production, else text. */
  readonly LOG_FORMAT?: LogFormat | undefined;
  readonly NODE_ENV: string;
}

/** The log that an operator reads. */
export interface OperatorLog extends LeveledLog {
  readonly format: LogFormat;
  /** Entries of less are not written. It may be set at any time. */
  level: LogLevel;
}

/** Takes a line without its line break. */
export type WriteLine = (line: string, level: LogLevel) => void;

/**
 * The log that an operator reads: every line of the service goes through here.
 *
 * JSON goes to standard output. Of text, `debug` and `info` go there, `warn` and `error` to standard error. What looks
 * like a token is left out of both, and control characters are written as escapes, so no line can be forged.
 *
 * @param write where the lines go instead.
 */
export function createLog(settings: LogSettings, write?: WriteLine): OperatorLog {
  const format = formatOf(settings);
  const writeEntry =
    format === 'json' ? jsonWriter(write ?? toStandardOutput()) : textWriter(write);
  const log = (entry: LogEntry): void => {
    if (log.writes(entry.level)) writeEntry(entry);
  };
  log.format = format;
  log.level = settings.LOG_LEVEL;
  log.writes = (level: LogLevel) => LEVELS.indexOf(level) >= LEVELS.indexOf(log.level);
  return log;
}

/**
 * The log of a process whose settings are not known yet, or are not valid: its format is still the one that was asked
 * for, as far as that can be read.
 */
export function createStartLog({ LOG_FORMAT, NODE_ENV = '' }: NodeJS.ProcessEnv): OperatorLog {
  const format = FORMATS.find((name) => name === LOG_FORMAT);
  return createLog({ LOG_LEVEL: 'info', LOG_FORMAT: format, NODE_ENV });
}

/**
 * Has SIGUSR2 turn the level `debug` on, and the next one off again. Where there is no such signal (Windows) it does
 * nothing.
 */
export function switchLevelOnSignal(log: OperatorLog): void {
  if (process.platform === 'win32') return;
  const configured = log.level;
  process.on('SIGUSR2', () => {
    const level = log.level === 'debug' ? configured : 'debug';
    const message = `The log's level is ${level} now; SIGUSR2 changes it again.`;
    // Written whatever the levels are: the operator asks whether the signal has come.
    log.level = 'debug';
    log({ level: 'info', event: 'log-level', message, to: level });
    log.level = level;
  });
}

const LEVELS: readonly LogLevel[] = ['debug', 'info', 'warn', 'error'];
const FORMATS: readonly LogFormat[] = ['json', 'text'];

function formatOf({ LOG_FORMAT, NODE_ENV }: Omit<LogSettings, 'LOG_LEVEL'>): LogFormat {
  return LOG_FORMAT ?? (NODE_ENV === 'production' ? 'json' : 'text');
}

function textWriter(write: WriteLine = toConsole): (entry: LogEntry) => void {
  return ({ level, message, stack }) => {
    const text = escapeControls(message);
    if (typeof stack !== 'string') return write(withoutTokens(text), level);
    // Its line breaks stay, and an indent tells its lines from those of the log.
    const lines = stack.split('\n').map((line) => `  ${escapeControls(line)}`);
    write(withoutTokens([text, ...lines].join('\n')), level);
  };
}

function toConsole(line: string, level: LogLevel): void {
  if (level === 'debug' || level === 'info') console.log(line);
  else console.error(line);
}

function jsonWriter(write: WriteLine): (entry: LogEntry) => void {
  const logger = pino(
    {
      level: 'debug', // What is not to be written does not come here.
      base: null, // The process and the host are for whoever collects the lines of many.
      messageKey: 'message',
      errorKey: 'error',
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { error: describeError },
    },
    {
      // JSON leaves some characters as they are that terminals obey: DEL, C1, and those that turn the direction.
      write: (line: string) => write(withoutTokens(escapeControls(line.trimEnd())), currentLevel),
    },
  );
  // The destination of pino is handed the line alone, in the call that logs it.
  let currentLevel: LogLevel = 'info';
  return ({ level, message, ...fields }) => {
    currentLevel = level;
    logger[level](fields, message);
  };
}

/** What is known of an error. Its other properties may be anything, headers among them. */
function describeError(error: unknown): unknown {
  if (!(error instanceof Error)) return String(error);
  const { name, message } = error;
  const { code } = error as NodeJS.ErrnoException;
  return { name, message, ...(typeof code === 'string' && { code }) };
}

/** Bytes of lines that wait for whoever reads them. Beyond it lines are dropped. */
const MAX_WAITING_BYTES = 16 * 1024 * 1024;
/** Lines of `debug` and `info` are written together: so many bytes, or those of so many milliseconds. */
const BATCH_BYTES = 8 * 1024;
const BATCH_MS = 50;

/**
 * Standard output, written to without waiting: whoever reads it slowly, or not at all, stops no service. What waits is
 * written when the process exits; only a kill can take the lines of the last milliseconds with it.
 *
 * A write of its own for each line would make a line of the access log cost 29 µs of processor time, instead of 18.
 */
function toStandardOutput(): WriteLine {
  const output = pino.destination({
    dest: 1,
    sync: false,
    minLength: BATCH_BYTES,
    maxLength: MAX_WAITING_BYTES,
  });
  let unwrittenBytes = 0;
  let dropped = 0;
  let isDue = false;
  let timer: NodeJS.Timeout | undefined;

  function put(line: string): void {
    unwrittenBytes += Buffer.byteLength(line) + 1;
    output.write(`${line}\n`);
  }

  function flush(): void {
    clearTimeout(timer);
    timer = undefined;
    isDue = true;
    output.flush(); // While a write is under way it does nothing.
  }

  output.on('write', (bytes: number) => {
    unwrittenBytes -= bytes;
  });
  output.on('drop', (line: string) => {
    unwrittenBytes -= Buffer.byteLength(line);
    dropped += 1;
  });
  output.on('drain', () => {
    if (dropped > 0) {
      const message = `${dropped} lines of the log were dropped: they were not read fast enough.`;
      dropped = 0;
      const time = new Date().toISOString();
      put(JSON.stringify({ level: 'warn', time, event: 'log-dropped', message }));
      isDue = true;
    }
    if (isDue && unwrittenBytes > 0) output.flush();
    else isDue = false;
  });
  return (line, level) => {
    put(line);
    if (level === 'warn' || level === 'error') flush();
    else timer ??= setTimeout(flush, BATCH_MS).unref();
  };
}

/** Control characters, line and paragraph separators, and what turns the direction of text. */
const CONTROLS = /[\p{Cc}\p{Zl}\p{Zp}\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;

/** Names of clients and of topics are theirs to choose: they are to forge no line, and to turn none around. */
function escapeControls(text: string): string {
  return text.replace(CONTROLS, (control) =>
    control < ' '
      ? JSON.stringify(control).slice(1, -1)
      : `\\u${control.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** What has a token in it: a JSON Web Token, the parameter or the cookie of one, and the header. */
const TOKEN =
  /\beyJ[\w-]{8,}(?:\.[\w-]*)*|(authorization(?:=|%3d))[^&\s"'\\;,]+|(bearer(?:\s|%20|\+)+)[\w.~+/=-]{16,}/gi;

/**
 * No part logs a token. This is for what they cannot know, such as an error of another package that quotes a URL, or a
 * client that puts its token where none belongs.
 */
function withoutTokens(line: string): string {
  return line.replace(TOKEN, (_, parameter = '', scheme = '') => `${parameter}${scheme}[token]`);
}
