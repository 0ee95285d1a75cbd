/** A node's connections to one server, which begin and end together. */

import type { Address } from './address.js';
import { RefusedError, UnfitError } from './failures.js';
import { Line, openClient, type Reply } from './line.js';
import { SCRIPTS } from './scripts.js';

/** What a server says of itself. */
export interface ServerInfo {
  readonly version: string;
  /** Another one after each start. */
  readonly run: string;
  /** Whether it waits for its disk before it answers: `always`, `everysec`, `no`; undefined without AOF. */
  readonly fsync: string | undefined;
  /** Whether it knows WAITAOF. */
  readonly hasWaitAof: boolean;
  /** What it does when its memory is full, if that is bounded. */
  readonly eviction: string | undefined;
}

const OLDEST_VERSION = [6, 2] as const;

export class Session {
  /** Appends go over `write`, reads over `read`; `tail` waits for new entries. */
  readonly write: Line;
  readonly read: Line;
  readonly tail: Line;
  readonly info: ServerInfo;
  /** Resolves with the reason when the first of its connections ends. */
  readonly ended: Promise<Error>;

  private constructor(lines: readonly [Line, Line, Line], info: ServerInfo, ended: Promise<Error>) {
    [this.write, this.read, this.tail] = lines;
    this.info = info;
    this.ended = ended;
  }

  /** @throws {UnfitError} if the server is too old; other errors if there is none, or a replica. */
  static async open(address: Address): Promise<Session> {
    const options = await address.resolve();
    const opening = [openClient(options), openClient(options), openClient(options)];
    const opened = await Promise.allSettled(opening);
    const failed = opened.find((each) => each.status === 'rejected');
    if (failed) {
      for (const each of opened) if (each.status === 'fulfilled') each.value.destroy();
      throw failed.reason;
    }
    let end: (reason: Error) => void = () => {};
    const ended = new Promise<Error>((resolve) => {
      end = resolve;
    });
    const lines = opened.map((each) => {
      if (each.status === 'rejected') throw each.reason;
      return new Line(each.value, end);
    }) as [Line, Line, Line];
    try {
      const info = await greet(lines[0], address);
      return new Session(lines, info, ended);
    } catch (error) {
      for (const line of lines) line.close();
      throw error;
    }
  }

  close(): void {
    for (const line of [this.write, this.read, this.tail]) line.close();
  }

  /** Closes each connection when what was sent over it has been answered, or soon. */
  retire(): void {
    for (const line of [this.write, this.read, this.tail]) line.retire();
  }
}

async function greet(line: Line, address: Address): Promise<ServerInfo> {
  const fields = fieldsOf(String(await line.send(['INFO'])));
  const version = fields.get('redis_version') ?? '0';
  const [major = 0, minor = 0] = version.split('.').map(Number);
  if (major < OLDEST_VERSION[0] || (major === OLDEST_VERSION[0] && minor < OLDEST_VERSION[1])) {
    throw new UnfitError(
      `${address.name} is Redis ${version}: it must be ${OLDEST_VERSION.join('.')} or newer, or Valkey.`,
    );
  }
  // A replica in a cluster answers the first script with where its primary is.
  if (fields.get('role') === 'slave' && !address.isCluster) {
    throw new RefusedError('READONLY This is a replica');
  }
  for (const { text } of Object.values(SCRIPTS)) await line.send(['SCRIPT', 'LOAD', text]);
  const hasAof = fields.get('aof_enabled') === '1';
  return {
    version,
    run: fields.get('run_id') ?? '',
    fsync: hasAof ? await settingOf(line, 'appendfsync') : undefined,
    hasWaitAof: major > 7 || (major === 7 && minor >= 2),
    eviction: fields.get('maxmemory') === '0' ? undefined : fields.get('maxmemory_policy'),
  };
}

function fieldsOf(info: string): ReadonlyMap<string, string> {
  const lines = info.split('\r\n').filter((line) => line.includes(':'));
  return new Map(
    lines.map((line) => {
      const colon = line.indexOf(':');
      return [line.slice(0, colon), line.slice(colon + 1)] as const;
    }),
  );
}

/** A setting of the server, or `unknown` if it does not tell, as those of some providers. */
async function settingOf(line: Line, name: string): Promise<string> {
  try {
    const answer = (await line.send(['CONFIG', 'GET', name])) as readonly Reply[];
    return String(answer[1] ?? 'unknown');
  } catch (error) {
    if (error instanceof RefusedError) return 'unknown';
    throw error;
  }
}
