import { execFile } from 'node:child_process';
import { mkdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Makes a directory whose journal has this file. */
export async function writeJournalFile(directory: string, bytes: Buffer): Promise<void> {
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, 'data.mdb'), bytes);
}

/** Overwrites a text wherever the file has it, also on pages that are no longer in use. */
export function overwriteText(file: Buffer, text: string, by: string): Buffer {
  const bytes = Buffer.from(file);
  for (let at = bytes.indexOf(text); at !== -1; at = bytes.indexOf(text, at + 1))
    bytes.write(by, at);
  return bytes;
}

/** Breaks the flags of every branch page. */
export function breakBranches(file: Buffer): Buffer {
  const bytes = Buffer.from(file);
  for (let at = 8192; at < bytes.length; at += 4096) {
    if (bytes.readUInt16LE(at + 18) === 1) bytes.writeUInt16LE(0x77, at + 18);
  }
  return bytes;
}

/** Notes that the file is as a clean stop has left it. */
export async function noteCleanStop(directory: string): Promise<void> {
  const { ino, size, ctimeNs } = await stat(join(directory, 'data.mdb'), { bigint: true });
  const closed = { inode: `${ino}`, bytes: `${size}`, changed: `${ctimeNs}` };
  await writeFile(join(directory, 'journal.json'), JSON.stringify({ closed }));
}

/** Runs `koa-sse-hub check-journal`. */
export function runCheckJournal(...args: string[]): Promise<Ended> {
  return runNode(['dist/main.js', 'check-journal', ...args]);
}

export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a script of Node's to its end. */
export function runNode(args: string[]): Promise<Ended> {
  return new Promise((resolve) => {
    execFile(process.execPath, args, { maxBuffer: 2 ** 30 }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr });
    });
  });
}
