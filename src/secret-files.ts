import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { ConfigError } from './config-error.js';

/** The settings that are secrets. Each may be read from a file, which the setting with `_FILE` names. */
export const SECRET_SETTINGS = [
  'JWT_KEY',
  'PUBLISHER_JWT_KEY',
  'SUBSCRIBER_JWT_KEY',
  'METRICS_TOKEN',
] as const;

/** Many times the largest key there is. */
const MAX_FILE_BYTES = 64 * 1_024;

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * Puts the content of files in the place of the settings that name them: `JWT_KEY_FILE` becomes `JWT_KEY`. One line
 * break at the end is not part of a secret.
 *
 * @throws {ConfigError} naming the setting, but neither its value nor the file's: one may have been written in the
 *   place of the other.
 */
export function withSecretFiles(env: Environment): Record<string, string | undefined> {
  const result = { ...env };
  for (const name of SECRET_SETTINGS) {
    const setting = `${name}_FILE`;
    const path = result[setting];
    delete result[setting];
    // An empty variable counts as not set.
    if (!path) continue;
    if (result[name]) {
      throw new ConfigError(`${name} and ${setting} exclude each other: set one of the two`);
    }
    result[name] = readSecret(setting, path);
  }
  return result;
}

function readSecret(setting: string, path: string): string {
  const bytes = readRegularFile(setting, path);
  if (bytes.length > MAX_FILE_BYTES) {
    throw new ConfigError(
      `${setting} must name a file of at most ${MAX_FILE_BYTES} bytes; the one it names is larger`,
    );
  }
  const text = decode(setting, bytes).replace(/\r?\n$/, '');
  if (text.trim() === '') {
    throw new ConfigError(
      `${setting} must name a file that holds the key; the one it names is empty`,
    );
  }
  return text;
}

/** Reads no more than it takes to know that a file is too large. */
function readRegularFile(setting: string, path: string): Buffer {
  let file: number | undefined;
  try {
    // Opening a pipe waits for its writer, unless one says not to.
    file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    if (!fstatSync(file).isFile()) {
      throw new ConfigError(`${setting} must name a file; what it names is something else`);
    }
    const buffer = Buffer.alloc(MAX_FILE_BYTES + 1);
    let length = 0;
    for (let read = -1; read !== 0; length += read) {
      read = readSync(file, buffer, length, buffer.length - length, null);
    }
    return buffer.subarray(0, length);
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    throw new ConfigError(`${setting} ${why(error as NodeJS.ErrnoException)}`);
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

function why({ code }: NodeJS.ErrnoException): string {
  switch (code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return 'must name a file; there is none under this path';
    case 'EACCES':
    case 'EPERM':
      return 'must name a file that can be read; this user may not read the one it names';
    default:
      return `must name a file that can be read; reading the one it names failed (${code})`;
  }
}

/** Other bytes would become other secrets: what cannot be decoded is replaced by the same character everywhere. */
function decode(setting: string, bytes: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new ConfigError(
      `${setting} must name a file of UTF-8 text; for a secret, the output of: openssl rand -base64 48`,
    );
  }
}
