import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** The packages of this repository that are published, by name. */
const OWN = { 'koa-sse-hub': '.', 'koa-event-stream': './packages/koa-event-stream' } as const;

export type OwnPackage = keyof typeof OWN;

export interface Registry {
  readonly url: string;
  /** The tarballs of this repository's packages, as `npm pack` makes them. */
  readonly tarballs: Readonly<Record<OwnPackage, string>>;
  close(): Promise<void>;
}

interface Manifest {
  readonly name: string;
  readonly version: string;
}

/** A version of a package, and how its tarball comes about. */
interface Release {
  readonly manifest: Manifest;
  readonly pack: () => Promise<Buffer>;
}

/**
 * An npm registry on a free port, so that packages can be installed without a network. It has the packages of this
 * repository, packed from what is built, and all that the repository has installed itself.
 */
export async function startRegistry(): Promise<Registry> {
  const folder = mkdtempSync(join(tmpdir(), 'koa-sse-hub-registry-'));
  const tarballs = await packOwn(folder);
  const releases = installedReleases();
  for (const tarball of Object.values(tarballs)) releases.push(await ownRelease(tarball));

  const server = createServer(async (req, res) => {
    const [, name = '', version] =
      /^\/((?:@[^/]+\/)?[^/]+)(?:\/-\/(.+)\.tgz)?$/.exec(decodeURIComponent(req.url ?? '')) ?? [];
    const found = releases.filter(({ manifest }) => manifest.name === name);
    const wanted = found.find(({ manifest }) => manifest.version === version);
    try {
      if (wanted) res.end(await wanted.pack());
      else if (found.length === 0 || version !== undefined) res.writeHead(404).end('{}');
      else {
        res.setHeader('Content-Type', 'application/json');
        res.end(JSON.stringify(packument(name, found, `http://${req.headers.host}`)));
      }
    } catch (error) {
      res.writeHead(500).end(String(error));
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    tarballs,
    async close() {
      server.close();
      server.closeAllConnections();
      await once(server, 'close');
      rmSync(folder, { recursive: true });
    },
  };
}

async function packOwn(folder: string): Promise<Record<OwnPackage, string>> {
  // Without scripts: one of them would build anew, and take dist/ away from other tests.
  const { stdout } = await run('npm', [
    ...['pack', '--json', '--ignore-scripts', '--pack-destination', folder],
    ...Object.values(OWN),
  ]);
  const packed: Iterable<{ name: OwnPackage; filename: string }> = Object.values(
    JSON.parse(stdout),
  );
  const tarballs = [...packed].map(({ name, filename }) => [name, join(folder, filename)]);
  return Object.fromEntries(tarballs);
}

async function ownRelease(tarball: string): Promise<Release> {
  const { stdout } = await run('tar', ['-xzOf', tarball, 'package/package.json']);
  return { manifest: JSON.parse(stdout), pack: async () => readFileSync(tarball) };
}

/** What the lock file lists. Packages for other systems have no files here, and nobody here asks for their tarballs. */
function installedReleases(): Release[] {
  const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8'));
  const releases: Release[] = [];
  for (const [path, entry] of Object.entries<Manifest & { link?: true }>(packages)) {
    const name = path.split(/(?:^|\/)node_modules\//).at(-1) ?? '';
    if (!path.includes('node_modules/') || entry.link) continue;
    const file = join(path, 'package.json');
    const manifest = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : { ...entry, name };
    releases.push({ manifest, pack: () => packInstalled(path) });
  }
  return releases;
}

async function packInstalled(folder: string): Promise<Buffer> {
  const name = basename(folder);
  const { stdout } = await run(
    'tar',
    ['-czf', '-', `--exclude=${name}/node_modules`, '-C', dirname(folder), name],
    { encoding: 'buffer', maxBuffer: 256 * 1024 * 1024 },
  );
  return stdout;
}

/** What a registry says of a package. */
function packument(name: string, releases: readonly Release[], url: string): object {
  const versions: Record<string, object> = {};
  for (const { manifest } of releases) {
    const tarball = `${url}/${name}/-/${manifest.version}.tgz`;
    versions[manifest.version] = { ...manifest, dist: { tarball } };
  }
  return { name, 'dist-tags': { latest: newest(Object.keys(versions)) }, versions };
}

function newest(versions: readonly string[]): string | undefined {
  return [...versions].sort((a, b) => a.localeCompare(b, 'en', { numeric: true })).at(-1);
}
