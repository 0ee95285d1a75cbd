import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Middleware } from 'koa';
import helmet from 'koa-helmet';
import type { FeedName } from '../feeds/names.js';

/** Where `npm run build` puts the client; seen alike from src/http and dist/http. */
const BUILT_CLIENT = fileURLToPath(new URL('../../dist/client', import.meta.url));

interface PageFile {
  readonly body: Buffer;
  readonly etag: string;
}

/**
 * The bundled page and its assets: a handful of small files, read once and served from memory.
 *
 * The page itself is asked for anew each time, which a 304 answers; the assets carry a hash of their
 * content in their names, so browsers keep them for ever.
 *
 * @param feeds those that are served: the page shows no other ones.
 * @throws {Error} if the client has not been built.
 */
export function page(feeds: ReadonlySet<FeedName>, directory = BUILT_CLIENT): Middleware {
  const files = readFiles(directory, (html) => withFeeds(html, feeds));

  return function page(ctx) {
    const file = files.get(ctx.path === '/' ? '/index.html' : ctx.path);
    if (file === undefined) return;
    ctx.status = 200;
    ctx.type = ctx.path === '/' ? 'html' : ctx.path.slice(ctx.path.lastIndexOf('.'));
    ctx.etag = file.etag;
    ctx.set(
      'Cache-Control',
      ctx.path.startsWith('/assets/') ? 'public, max-age=31536000, immutable' : 'no-cache',
    );
    if (ctx.fresh) ctx.status = 304;
    else ctx.body = file.body;
  };
}

/** Nothing but the page's own files runs or loads, and nobody frames it. */
export function pageSecurity(): Middleware {
  return helmet({
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        'default-src': ["'none'"],
        'script-src': ["'self'"],
        'style-src': ["'self'"],
        'img-src': ["'self'"],
        'connect-src': ["'self'"],
        'base-uri': ["'none'"],
        'form-action': ["'self'"],
        'frame-ancestors': ["'none'"],
        'require-trusted-types-for': ["'script'"],
      },
    },
    xFrameOptions: { action: 'deny' },
    // The service speaks plain HTTP; whether its hosts are HTTPS for good is its proxy's to say.
    strictTransportSecurity: false,
  });
}

/** Tells the page which feeds there are, in an attribute: its policy allows no script that would. */
function withFeeds(html: Buffer, feeds: ReadonlySet<FeedName>): Buffer {
  const text = html.toString();
  const told = text.replace(/data-feeds="[^"]*"/, `data-feeds="${[...feeds].join(' ')}"`);
  return Buffer.from(told);
}

function readFiles(directory: string, editPage: (html: Buffer) => Buffer): Map<string, PageFile> {
  if (!existsSync(directory)) throw new Error('The page has not been built: run npm run build.');
  const files = new Map<string, PageFile>();
  for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const name = `/${relative(directory, path).split(sep).join('/')}`;
    const body = name === '/index.html' ? editPage(readFileSync(path)) : readFileSync(path);
    const etag = createHash('sha256').update(body).digest('base64url').slice(0, 22);
    files.set(name, { body, etag });
  }
  return files;
}
