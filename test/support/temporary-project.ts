import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface TemporaryProject {
  readonly folder: string;
  remove(): void;
}

export type ProjectFiles = Iterable<readonly [name: string, text: string]>;

/** A project outside this repository that uses koa-sse-hub, as built into dist/, Koa, and what else it names. */
export function temporaryProject(
  files: ProjectFiles,
  packages: readonly string[] = [],
): TemporaryProject {
  const project = emptyProject(files);
  const { folder } = project;
  const install = (name: string, from: string) =>
    symlinkSync(from, join(folder, 'node_modules', name), 'junction');
  mkdirSync(join(folder, 'node_modules'));
  install('koa-sse-hub', process.cwd());
  for (const name of ['koa', '@koa', '@types', ...packages]) {
    install(name, join(process.cwd(), 'node_modules', name));
  }
  return project;
}

/** A project outside this repository that has nothing but these files. */
export function emptyProject(files: ProjectFiles = []): TemporaryProject {
  const folder = mkdtempSync(join(tmpdir(), 'koa-sse-hub-'));
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  for (const [name, text] of files) writeFileSync(join(folder, name), text);
  return { folder, remove: () => rmSync(folder, { recursive: true }) };
}
