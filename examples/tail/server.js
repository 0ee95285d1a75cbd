// A growing log file as an event stream, from the end of the file on.
import { existsSync } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import Koa from 'koa';
import { sse } from 'koa-sse-hub';

const { PORT = 3000, HOST = '127.0.0.1' } = process.env;
const [file] = process.argv.slice(2);
if (file === undefined || !existsSync(file)) {
  console.error(`There is no ${file ?? 'file'}. Name one: npm run example tail FILE`);
  process.exit(1);
}

const app = new Koa();
app.use(sse()).use((ctx) => ctx.eventStream.sendAll(growthOf(file, ctx.eventStream.signal)));
app.listen(PORT, HOST, () => console.log(`tail listens on http://localhost:${PORT}`));

/** What is written from now on to the file of this name, and to those that take its name when it is rotated. */
async function* growthOf(name, signal) {
  let handle = await open(name);
  try {
    let { ino, size: position } = await handle.stat();
    yield { event: 'start', data: name }; // The answer begins, though the log may be quiet.
    while (!signal.aborted) {
      // Looked up before the rest is read: no line is missed that a file got before it lost its name.
      const named = await stat(name).catch(() => ({ ino, size: position }));
      const { bytesRead, buffer } = await handle.read({ position });
      position += bytesRead;
      if (bytesRead > 0) {
        yield buffer.subarray(0, bytesRead);
      } else if (named.ino !== ino) {
        await handle.close();
        handle = await open(name);
        ino = (await handle.stat()).ino;
        position = 0;
      } else if (named.size < position) {
        position = 0; // Truncated.
      } else {
        await delay(200, undefined, { signal });
      }
    }
  } finally {
    await handle.close();
  }
}
