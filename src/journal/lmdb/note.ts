/**
 * The note beside the file of a journal, `journal.json`. It says that a journal is here, so that one whose file is
 * emptied or gone is not taken for a new one; and how the file was left when it was closed, so that a file that
 * nothing has touched since need not be checked.
 */

import { open as openFile, readFile, rename, stat } from 'node:fs/promises';
import { join } from 'node:path';

export const NOTE_FILE = 'journal.json';

export interface Note {
  /** What the file was like after it was closed; null while it is open, or if it never was closed. */
  readonly closed: FileState | null;
}

/** Changes with every write to a file. Nobody can set back the time of the last change (`ctime`). */
export interface FileState {
  readonly inode: string;
  readonly bytes: string;
  readonly changed: string;
}

export async function fileState(file: string): Promise<FileState | undefined> {
  try {
    const { ino, size, ctimeNs } = await stat(file, { bigint: true });
    return { inode: `${ino}`, bytes: `${size}`, changed: `${ctimeNs}` };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

export function isSameState(a: FileState | null | undefined, b: FileState | undefined): boolean {
  return !!a && !!b && a.inode === b.inode && a.bytes === b.bytes && a.changed === b.changed;
}

/** @returns undefined if there is none. One that cannot be read says that a journal is here, and no more. */
export async function readNote(directory: string): Promise<Note | undefined> {
  let text: string;
  try {
    text = await readFile(join(directory, NOTE_FILE), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const { closed } = JSON.parse(text) as Partial<Note>;
    return { closed: closed ?? null };
  } catch {
    return { closed: null };
  }
}

/** Replaces the note as a whole: whoever reads it finds the old one or this. */
export async function writeNote(directory: string, note: Note): Promise<void> {
  const file = join(directory, NOTE_FILE);
  const handle = await openFile(`${file}.new`, 'w');
  try {
    await handle.writeFile(`${JSON.stringify(note)}\n`);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(`${file}.new`, file);
}
