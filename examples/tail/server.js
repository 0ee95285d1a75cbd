// A growing log file as an event stream, from the end of the file on.
import { existsSync } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import Koa from 'koa';
import { sse } from 'koa-sse-hub';

const { PORT = 3000, HOST = '127.0.0.1' } = process.env;
const [name] = process.argv.slice(2);
if (name === undefined || !existsSync(name)) {
  console.error(`There is no ${name ?? 'file'}. Name one: npm run example tail FILE`);
  process.exit(1);
}

const app = new Koa();
app.use(sse()).use(({ eventStream }) => eventStream.sendAll(growth(eventStream.signal)));
app.listen(PORT, HOST, () => console.log(`tail listens on http://localhost:${PORT}`));

/** What is written from now on to the file of this name, and to those that take its name when it is rotated. */
async function* growth(signal) {
  let file = await open(name);
  try {
    let { ino, size: position } = await file.stat();
    yield { event: 'start', data: name }; // The answer begins, though the log may be quiet.
    while (!signal.aborted) {
      // Looked up before the rest is read: no line is missed that a file got before it lost its name.
      const named = await stat(name).catch(() => ({ ino }));
      const { bytesRead, buffer } = await file.read({ position });
      position += bytesRead;
      if (bytesRead > 0) yield buffer.subarray(0, bytesRead);
      else if (named.ino !== ino || named.size < position) {
        await file.close();
        file = await open(name);
        ({ ino } = await file.stat());
        position = 0;
      } else await delay(200, undefined, { signal });
    }
  } finally {
    await file.close();
  }
}
