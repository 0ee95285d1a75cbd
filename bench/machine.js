/** The machine: which cores there are, what may be opened, what a process uses. Linux; elsewhere much is unknown. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';

const allowed = allowedCores();
const hasTaskset = canRun('taskset', ['--version']);

/** Which core is whose; undefined where processes cannot be pinned. */
export const cores =
  hasTaskset && allowed.length > 1 ? { server: allowed[0], generator: allowed[1] } : undefined;

/** What the numbers owe to the machine, for the report. */
export function describeMachine() {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: allowed.length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    node: process.version,
    kernel: release(),
    congestion: proc('sys/net/ipv4/tcp_congestion_control').trim(),
    pinned: cores !== undefined,
  };
}

/** Why the results are worth less than they could be, one line each. */
export function warnings() {
  if (!hasTaskset) return ['taskset is missing: server and load generator share the cores.'];
  if (allowed.length < 2) return ['There is one core: server and load generator share it.'];
  return [];
}

/** Pins this process, with all its threads, to the load generator's core. */
export function pinGenerator() {
  if (cores === undefined) return;
  execFileSync('taskset', ['-a', '-cp', String(cores.generator), String(process.pid)], {
    stdio: 'ignore',
  });
}

/** A command that runs on the server's core. */
export function pinned(command) {
  return cores === undefined ? command : ['taskset', '-c', String(cores.server), ...command];
}

/** A command that runs on the load generator's core: what a server needs, and is not what is measured. */
export function beside(command) {
  return cores === undefined ? command : ['taskset', '-c', String(cores.generator), ...command];
}

/** How many files a process may have open, and so how many connections. */
export function openFilesLimit() {
  const [, soft = 'unlimited'] = /^Max open files\s+(\S+)/m.exec(proc('self/limits')) ?? [];
  return soft === 'unlimited' ? Number.POSITIVE_INFINITY : Number(soft);
}

/** The memory of a process and its children in bytes, pages that are shared counted in parts (PSS). */
export function memoryOf(pid) {
  return total(family(pid), (member) => {
    const [, kilobytes = 0] = /^Pss:\s+(\d+) kB/m.exec(proc(`${member}/smaps_rollup`)) ?? [];
    return Number(kilobytes) * 1024;
  });
}

/** The processor time of a process and its children so far, in seconds. */
export function cpuSecondsOf(pid) {
  return total(family(pid), (member) => {
    // The fields follow the name, which stands in parentheses: the 12th and 13th are user and system time.
    const fields = proc(`${member}/stat`)
      .replace(/^.*\) /s, '')
      .split(' ');
    return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) / CLOCK_TICKS;
  });
}

/** The processor time that everybody together has used on the two cores so far, in seconds; undefined if unknown. */
export function cpuSecondsOfCores() {
  if (cores === undefined) return undefined;
  const stat = proc('stat');
  return total([...new Set(Object.values(cores))], (core) => {
    const [, line = ''] = new RegExp(`^cpu${core} +(.+)$`, 'm').exec(stat) ?? [];
    // user, nice, system, idle, iowait, irq, softirq, steal
    const [user, nice, system, , , irq, softirq, steal] = line.split(' ').map(Number);
    return (user + nice + system + irq + softirq + steal) / CLOCK_TICKS;
  });
}

/** `USER_HZ`, which is 100 on every architecture that Node runs on. */
const CLOCK_TICKS = 100;

function family(pid) {
  const children = proc(`${pid}/task/${pid}/children`).split(' ').filter(Boolean);
  return [pid, ...children.flatMap((child) => family(child))];
}

function total(items, measureOf) {
  return items.reduce((sum, item) => sum + measureOf(item), 0);
}

function allowedCores() {
  const [, list] = /^Cpus_allowed_list:\s+(\S+)/m.exec(proc('self/status')) ?? [];
  if (list === undefined) return cpus().map((_, index) => index);
  return list.split(',').flatMap((range) => {
    const [first, last = first] = range.split('-').map(Number);
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
}

function proc(path) {
  try {
    return readFileSync(`/proc/${path}`, 'utf8');
  } catch {
    return '';
  }
}

function canRun(command, args) {
  try {
    execFileSync(command, args, { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
