import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface TemporaryProject {
  readonly folder: string;
  remove(): void;
}

/** A project outside this repository that has installed koa-sse-hub, as built into dist/, Koa, and what else it names. */
export function temporaryProject(
  files: Iterable<readonly [name: string, text: string]>,
  packages: readonly string[] = [],
): TemporaryProject {
  const folder = mkdtempSync(join(tmpdir(), 'koa-sse-hub-'));
  const install = (name: string, from: string) =>
    symlinkSync(from, join(folder, 'node_modules', name), 'junction');
  mkdirSync(join(folder, 'node_modules'));
  install('koa-sse-hub', process.cwd());
  for (const name of ['koa', '@koa', '@types', ...packages]) {
    install(name, join(process.cwd(), 'node_modules', name));
  }
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  for (const [name, text] of files) writeFileSync(join(folder, name), text);
  return { folder, remove: () => rmSync(folder, { recursive: true }) };
}
