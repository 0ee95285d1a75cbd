#!/usr/bin/env node
import { onNpmGone } from './npm-parent.js';
import type { OperatorLog } from './ops/log.js';
import type { Service } from './service.js';

const USAGE = `Usage: koa-sse-hub [COMMAND]

  Without a command it runs the service. Its settings are environment variables; docs/operations.md has them all.

  token           makes a token for a publisher or a subscriber
  check-journal   says what of a journal is whole, and saves it

  koa-sse-hub COMMAND --help says more.`;

const [command, ...args] = process.argv.slice(2);
switch (command) {
  case undefined:
    await run();
    break;
  case 'token': {
    const { runToken } = await import('./token-cli.js');
    process.exitCode = await runToken(args, process.env);
    break;
  }
  case 'check-journal': {
    const { runCheckJournal } = await import('./check-journal.js');
    process.exitCode = await runCheckJournal(args);
    break;
  }
  case '--help':
  case '-h':
    console.log(USAGE);
    break;
  default:
    console.error(`There is no command ${JSON.stringify(command)}.\n\n${USAGE}`);
    process.exitCode = 1;
}

async function run(): Promise<void> {
  let log: OperatorLog | undefined;
  try {
    // One after the other: all the files of an import are opened at once, and all of these together are more than
    // 128, which is what some systems allow a process.
    await import('zod');
    await import('jose');
    const { readConfig } = await import('./config.js');
    const { createLog, switchLevelOnSignal } = await import('./ops/log.js');
    const { startService } = await import('./service.js');
    const config = readConfig(process.env);
    log = createLog(config);
    switchLevelOnSignal(log);
    const service = await startService(config, log);
    // Whoever reads that it listens may send the signal at once.
    stopOnSignal(service, log);
    const { url, notice } = service;
    log({ level: 'info', event: 'listening', message: `koa-sse-hub listens on ${url}`, url });
    if (service.opsUrl !== undefined) {
      const message = `Metrics are at ${service.opsUrl}/metrics`;
      log({ level: 'info', event: 'metrics', message, url: service.opsUrl });
    }
    if (notice !== undefined) tellNotice(notice, log);
  } catch (error) {
    const { createStartLog } = await import('./ops/log.js');
    log ??= createStartLog(process.env);
    const message = `koa-sse-hub cannot start: ${(error as Error).message}`;
    log({ level: 'error', event: 'start-failed', message, error });
    process.exitCode = 1;
  }
}

/** A terminal is shown the trial token that it may have. What is collected by machines has no tokens. */
function tellNotice(notice: string, log: OperatorLog): void {
  if (log.format === 'text') console.warn(notice);
  else log({ level: 'warn', event: 'no-key', message: notice });
}

/** The first signal stops the service in order; a second one finds no handler and ends the process. */
function stopOnSignal(service: Service, log: OperatorLog): void {
  let isStopping = false;
  const stop = async () => {
    if (isStopping) return;
    isStopping = true;
    process.off('SIGTERM', stop).off('SIGINT', stop);
    await service.stop();
    log({ level: 'info', event: 'stopped', message: 'koa-sse-hub has stopped' });
  };
  process.on('SIGTERM', stop).on('SIGINT', stop);
  onNpmGone(stop);
}
