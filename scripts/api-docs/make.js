// Makes docs/api from the doc comments of what the package exports: `npm run docs`. With --check it only looks whether
// docs/api is what it would make. Whatever is exported without a doc comment is an error.
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Application, Converter, TSConfigReader, TypeDocReader } from 'typedoc';

const HERE = fileURLToPath(new URL('.', import.meta.url));
const API = fileURLToPath(new URL('../../docs/api', import.meta.url));

if (process.argv.includes('--check')) await check();
else await make(API);

async function check() {
  const fresh = mkdtempSync(join(tmpdir(), 'api-docs-'));
  try {
    await make(fresh);
    const stale = differences(fresh, API);
    if (stale.length === 0) return;
    console.error(
      `docs/api is not what the doc comments say: ${stale.join(', ')}. Run npm run docs.`,
    );
    process.exitCode = 1;
  } finally {
    rmSync(fresh, { recursive: true });
  }
}

/** Makes the reference anew in a directory, of which nothing else is left. */
async function make(directory) {
  const app = await Application.bootstrapWithPlugins({ options: HERE, out: directory }, [
    new TypeDocReader(),
    new TSConfigReader(),
  ]);
  app.converter.on(Converter.EVENT_RESOLVE_END, ({ project }) => {
    for (const reflection of Object.values(project.reflections)) nameErrors(reflection.comment);
  });
  const project = await app.convert();
  if (project === undefined) giveUp();
  app.validate(project);
  // What it has to say, it has printed.
  if (app.logger.hasErrors() || app.logger.hasWarnings()) giveUp();
  await app.generateOutputs(project);
  if (app.logger.hasErrors() || app.logger.hasWarnings()) giveUp();
}

/** TypeDoc leaves out which error `@throws {FrameError}` names. */
function nameErrors(comment) {
  for (const tag of comment?.getTags('@throws') ?? []) {
    const name = tag.typeAnnotation?.slice(1, -1);
    if (name === undefined) continue;
    tag.content.unshift({ kind: 'code', text: `\`${name}\`` }, { kind: 'text', text: ' ' });
  }
}

/** The names of files that one directory has otherwise than the other, or not at all. */
function differences(one, other) {
  const [files, others] = [filesOf(one), filesOf(other)];
  const names = new Set([...files.keys(), ...others.keys()]);
  return [...names].filter((name) => files.get(name) !== others.get(name)).sort();
}

function filesOf(directory) {
  if (statSync(directory, { throwIfNoEntry: false }) === undefined) return new Map();
  const names = readdirSync(directory, { recursive: true });
  const files = names.filter((name) => statSync(join(directory, name)).isFile());
  return new Map(files.map((name) => [name, readFileSync(join(directory, name), 'utf8')]));
}

function giveUp() {
  process.exit(1);
}
