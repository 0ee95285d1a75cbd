/** What the kernel says of a process. Linux; elsewhere nothing is known. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** A file of /proc; empty if it is not there. */
export function proc(path) {
  try {
    return readFileSync(`/proc/${path}`, 'utf8');
  } catch {
    return '';
  }
}

/** How many descriptors a process has open. */
export function descriptorsOf(pid) {
  try {
    return readdirSync(`/proc/${pid}/fd`).length;
  } catch {
    return Number.NaN;
  }
}

/** How many of them are sockets. */
export function socketsOf(pid) {
  try {
    return readdirSync(`/proc/${pid}/fd`).filter((name) => isSocket(`/proc/${pid}/fd/${name}`))
      .length;
  } catch {
    return 0;
  }
}

function isSocket(path) {
  try {
    return readlinkSync(path).startsWith('socket:');
  } catch {
    return false; // It was closed meanwhile.
  }
}
