import { execFile } from 'node:child_process';
import { join } from 'node:path';
import type { Registry } from './registry.js';
import { emptyProject, type ProjectFiles, type TemporaryProject } from './temporary-project.js';

/** How long an installation may take on a machine that has much else to do. */
export const INSTALL_MS = 120_000;

export interface InstalledProject extends TemporaryProject {
  /** What commands are run with. */
  readonly env: NodeJS.ProcessEnv;
  /** Runs a command in the project's folder, and resolves whether it succeeds or not. */
  run(command: string): Promise<Result>;
}

export interface Result {
  /** The exit code; -1 if the program could not be started or was killed. */
  readonly code: number;
  /** All that the command has printed. */
  readonly output: string;
}

/**
 * A project outside this repository in which one command was run, such as `npm install koa`, with the registry as its
 * only source of packages.
 *
 * @throws {Error} with what the command has printed, if it fails.
 */
export async function installedProject(
  command: string,
  registry: Registry,
  files?: ProjectFiles,
): Promise<InstalledProject> {
  const { folder, remove } = emptyProject(files);
  const env = environment(folder, registry);
  const run = (line: string) => runCommand(line, folder, env);
  const { code, output } = await run(command);
  if (code === 0) return { folder, remove, env, run };
  remove();
  throw new Error(`${command} exited with ${code}:\n${output}`);
}

function runCommand(line: string, cwd: string, env: NodeJS.ProcessEnv): Promise<Result> {
  const [program = '', ...args] = line.split(' ');
  return new Promise((resolve) => {
    execFile(program, args, { cwd, env }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
      resolve({ code, output: code === -1 ? `${error}` : stdout + stderr });
    });
  });
}

/** What the npm that runs the tests tells its scripts is left out, and nothing is kept outside of the project. */
function environment(folder: string, { url }: Registry): NodeJS.ProcessEnv {
  const inherited = Object.entries(process.env).filter(([name]) => !/^(npm|pnpm)_/i.test(name));
  return {
    ...Object.fromEntries(inherited),
    NODE_OPTIONS: '',
    PATH: `${process.env.PATH}:${join(process.cwd(), 'node_modules/.bin')}`,
    npm_config_registry: url,
    npm_config_userconfig: join(folder, '.npmrc'),
    npm_config_cache: join(folder, '.cache/npm'),
    npm_config_audit: 'false',
    npm_config_update_notifier: 'false',
    XDG_CACHE_HOME: join(folder, '.cache'),
    XDG_DATA_HOME: join(folder, '.cache'),
    XDG_STATE_HOME: join(folder, '.cache'),
  };
}
