import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { type FileHandle, link, open, readdir, rm } from 'node:fs/promises';
import { connect, createServer, type Server } from 'node:net';
import { join } from 'node:path';

export interface DirectoryLock {
  /** The file that says who has the directory. As long as it is there, nobody else can have it. */
  readonly file: string;
  release(): Promise<void>;
}

/** Somebody owns the directory already. */
export class OwnedError extends Error {}

/**
 * Makes this the one owner of a directory, until it is released or the process is gone, however it goes.
 *
 * Who owns a directory listens on a socket in it. The kernel closes the socket with the process, and after
 * that a connection is refused. A file with a process id would not do: in containers everybody is process 1.
 *
 * The socket of a dead owner cannot be replaced without a moment in which two may believe they have. So
 * there is a file for each owner in turn, `owner.1`, `owner.2` and so on. The last counts, dead or alive,
 * and is removed only by who comes after it.
 *
 * @throws {OwnedError} somebody owns it.
 */
export async function lockDirectory(directory: string): Promise<DirectoryLock> {
  const { prefix, handle } = await shortPrefix(directory);
  const path = (name: string): string => join(prefix, name);
  // It listens before it has its name as an owner: who finds that name is never refused while it lives.
  const name = randomUUID();
  let server: Server | undefined;
  const release = async (): Promise<void> => {
    if (server) {
      server.close();
      await once(server, 'close');
    }
    await handle?.close();
  };

  try {
    server = await listen(path(name));
    for (;;) {
      const last = Math.max(...(await turnsIn(prefix)), 0);
      if (last > 0 && (await isListenedOn(path(`owner.${last}`)))) throw new OwnedError();
      try {
        await link(path(name), path(`owner.${last + 1}`));
      } catch (error) {
        if (codeOf(error) === 'EEXIST') continue;
        throw error;
      }
      const turns = await turnsIn(prefix);
      const before = turns.filter((turn) => turn <= last).map((turn) => `owner.${turn}`);
      if (Math.max(...turns) === last + 1) {
        for (const old of [...before, name]) await rm(path(old), { force: true });
        return { file: join(directory, `owner.${last + 1}`), release };
      }
      // What was the last when it was looked for has been removed since, and this was not its turn.
      await rm(path(`owner.${last + 1}`), { force: true });
    }
  } catch (error) {
    await release();
    throw error;
  }
}

/** Whether somebody owns a directory now. It leaves the directory as it is. */
export async function isDirectoryLocked(directory: string): Promise<boolean> {
  const { prefix, handle } = await shortPrefix(directory);
  try {
    const last = Math.max(...(await turnsIn(prefix)), 0);
    return last > 0 && (await isListenedOn(join(prefix, `owner.${last}`)));
  } finally {
    await handle?.close();
  }
}

/** The least that any system's `sun_path` holds, less the longest name put into the directory. */
const MAX_PREFIX_BYTES = 104 - 1 - '/'.length - 36;

async function turnsIn(directory: string): Promise<number[]> {
  const names = await readdir(directory);
  return names.flatMap((name) => /^owner\.([1-9]\d*)$/.exec(name)?.[1] ?? []).map(Number);
}

async function listen(path: string): Promise<Server> {
  const server = createServer((socket) => socket.destroy());
  server.listen(path);
  await once(server, 'listening');
  return server.unref();
}

async function isListenedOn(path: string): Promise<boolean> {
  const socket = connect(path);
  try {
    await once(socket, 'connect');
    return true;
  } catch (error) {
    switch (codeOf(error)) {
      case 'ECONNREFUSED':
      case 'ENOENT':
        return false;
      case 'EAGAIN': // More are asking than it has got round to.
        return true;
      case 'ECONNRESET': // It went away just then.
        return isListenedOn(path);
      default:
        throw error;
    }
  } finally {
    socket.destroy();
  }
}

/** A way to write the directory that is short enough for a socket's path, which is cut off otherwise. */
async function shortPrefix(
  directory: string,
): Promise<{ prefix: string; handle: FileHandle | undefined }> {
  if (Buffer.byteLength(directory) <= MAX_PREFIX_BYTES) {
    return { prefix: directory, handle: undefined };
  }
  if (process.platform !== 'linux') {
    throw new Error(`its path is longer than ${MAX_PREFIX_BYTES} bytes`);
  }
  const handle = await open(directory);
  return { prefix: `/proc/self/fd/${handle.fd}`, handle };
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? '';
}
