import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from '@jest/globals';
import { filesOf } from '../../scripts/guide-files.js';
import { type Program, runProgram } from './run-program.js';
import { temporaryProject } from './temporary-project.js';

export const GUIDE = readFileSync('docs/guide.md', 'utf8');

/** The files that the guide shows, whole. */
export const FILES = filesOf(GUIDE);

/** Replaces a text in a file of the guide; one that is not there is a mistake in the test. */
export type Edit = readonly [string | RegExp, string];

export interface StartOptions {
  readonly edits?: readonly Edit[];
  /** Options for node itself, such as `--import`. */
  readonly nodeArgs?: readonly string[];
}

/** A project that has installed what the guide needs, with the files of the guide in it. */
export interface GuideProject {
  readonly folder: string;
  /** Starts a file of the guide, with edits as a variant of its own. */
  start(name: string, options?: StartOptions): Promise<Program>;
  /** Runs commands that the guide shows against a program; resolves with what they print, errors among it. */
  shell(program: Program, ...commands: string[]): Promise<string>;
  /** Runs a command that the guide shows, and expects what the guide says that it prints. */
  example(program: Program, command: string): Promise<void>;
  remove(): void;
}

export function guideProject(): GuideProject {
  const project = temporaryProject(FILES, ['eventsource-parser']);
  const { folder } = project;
  let variants = 0;

  async function shell(program: Program, ...commands: string[]): Promise<string> {
    const here = commands
      .map(inGuide)
      .join('\n')
      .replaceAll('localhost:3000', `127.0.0.1:${program.port}`)
      .replace(/^curl (?!-s)/gm, 'curl -sS ');
    // A command may exit with an error, such as curl's for the time that is over: that is its output.
    return new Promise((resolve) => {
      execFile('sh', ['-c', here], { cwd: folder }, (_error, stdout, stderr) =>
        resolve(stdout + stderr),
      );
    });
  }

  return {
    folder,
    start(name, { nodeArgs, edits = [] } = {}) {
      let file = name;
      if (edits.length > 0) {
        variants += 1;
        file = `variant-${variants}-${name}`;
        writeFileSync(join(folder, file), edited(name, edits));
      }
      return runProgram(file, { cwd: folder, ...(nodeArgs && { nodeArgs }) });
    },
    shell,
    async example(program, command) {
      expect(lines(await shell(program, command))).toMatch(outputInGuide(command));
    },
    remove: project.remove,
  };
}

/** A file of the guide, with edits. */
export function edited(name: string, edits: readonly Edit[]): string {
  return edits.reduce((code, [from, to]) => {
    if (typeof from === 'string' && !code.includes(from)) throw new Error(`No ${from} in ${name}.`);
    return code.replace(from, to);
  }, FILES.get(name) ?? '');
}

/** A command, if the guide shows it. */
export function inGuide(command: string): string {
  if (!GUIDE.includes(command)) throw new Error(`The guide has no such command: ${command}`);
  return command;
}

/** What the guide says that a command prints; a line of `…` stands for any lines. */
export function outputInGuide(command: string): RegExp {
  const [, rest] = GUIDE.split(`\n$ ${inGuide(command)}\n`);
  if (rest === undefined) throw new Error(`The guide does not say what this prints: ${command}`);
  const text = lines(rest.split(/^(?:\$ .*|```)$/m, 1)[0] as string);
  const pattern = text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&').replace(/^…$/gm, '(?:.|\n)*?');
  return new RegExp(`^${pattern}$`);
}

/** Without the ends of lines that differ between heads and bodies, and without an empty end. */
function lines(text: string): string {
  return text.replaceAll('\r\n', '\n').trimEnd();
}
