import { type BigIntStats, lstatSync } from 'node:fs';

/**
 * Remembers which files an open journal has. They can be removed, replaced or cut off under a process, which the
 * system does not tell it: it goes on with files that nobody finds, or ends where it reads what has been cut off.
 *
 * @param file - the file with the updates.
 * @param lockFile - what keeps other processes out. Without it one may have come in.
 * @returns a function that throws if the files are no longer those, or shorter. It takes some microseconds.
 */
export function watchFiles(
  directory: string,
  file: string,
  lockFile: string,
): (use: 'read' | 'write') => void {
  const opened = lstat(file);
  const lock = lstat(lockFile);
  let bytes = opened?.size ?? 0n;

  return (use) => {
    const now = lstat(file);
    const isSame = isSameFile(now, opened);
    if (now && isSame) {
      if (now.size < bytes) throw new Error(`${file} has been cut off`);
      bytes = now.size;
    }
    // What has been removed can still be read, as long as it is open.
    if (use === 'write' && !(isSame && isSameFile(lstat(lockFile), lock))) {
      throw new Error(`the directory ${directory} or what is in it has been removed or replaced`);
    }
  };
}

function isSameFile(a: BigIntStats | undefined, b: BigIntStats | undefined): boolean {
  return a?.ino === b?.ino && a?.dev === b?.dev;
}

function lstat(path: string): BigIntStats | undefined {
  try {
    return lstatSync(path, { bigint: true, throwIfNoEntry: false });
  } catch {
    return undefined; // A directory on the way to it has become something else.
  }
}
