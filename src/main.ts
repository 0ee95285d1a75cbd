#!/usr/bin/env node
import type { Service } from './service.js';

if (process.argv[2] === 'check-journal') {
  const { runCheckJournal } = await import('./check-journal.js');
  process.exitCode = await runCheckJournal(process.argv.slice(3));
} else {
  await run();
}

async function run(): Promise<void> {
  try {
    // One after the other: all the files of an import are opened at once, and all of these together are more than
    // 128, which is what some systems allow a process.
    await import('zod');
    await import('jose');
    const { readConfig } = await import('./config.js');
    const { startService } = await import('./service.js');
    const service = await startService(readConfig(process.env));
    console.log(`koa-sse-hub listens on ${service.url}`);
    if (service.opsUrl) console.log(`Metrics are at ${service.opsUrl}/metrics`);
    if (service.notice) console.warn(service.notice);
    stopOnSignal(service);
  } catch (error) {
    console.error(`koa-sse-hub cannot start: ${(error as Error).message}`);
    process.exitCode = 1;
  }
}

/** The first signal stops the service in order; a second one finds no handler and ends the process. */
function stopOnSignal(service: Service): void {
  const stop = async () => {
    process.off('SIGTERM', stop).off('SIGINT', stop);
    await service.stop();
    console.log('koa-sse-hub has stopped');
  };
  process.on('SIGTERM', stop).on('SIGINT', stop);
}
