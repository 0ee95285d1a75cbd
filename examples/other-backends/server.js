// A hub that others publish to. It starts each of the publishers once, and prints what a subscriber receives.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { SignJWT } from 'jose';
import Koa from 'koa';
import { EventStream } from 'koa-sse-hub';
import { Hub, openJournal, select } from 'koa-sse-hub/hub';
import { createAuthorizer, mercure, readKeys } from 'koa-sse-hub/mercure';

const { PORT = 3000, HOST = '127.0.0.1' } = process.env;
const { JWT_KEY = randomBytes(32).toString('base64url') } = process.env;
const TOPIC = 'greetings';
const PUBLISHERS = [
  ['sh', 'publish.sh'],
  ['python3', 'publish.py'],
  ['php', 'publish.php'],
];

const hub = await Hub.open(await openJournal('memory:', { maxUpdates: 10_000 }));
const authorizer = createAuthorizer({ keys: readKeys({ JWT_KEY }) });

const app = new Koa();
app.use(mercure({ hub, authorizer, path: '/hub' }));
const server = app.listen(PORT, HOST);
await once(server, 'listening');
const HUB_URL = `http://localhost:${server.address().port}/hub`;
console.log(`The hub is at ${HUB_URL}. What comes on ${TOPIC}:\n`);

const subscriber = new EventStream();
hub.subscribe(subscriber, select([TOPIC]));
subscriber.pipe(process.stdout);

// What an operator gives to those who cannot sign: for this topic, and for a minute.
const TOKEN = await new SignJWT({ mercure: { publish: [TOPIC] } })
  .setProtectedHeader({ alg: 'HS256' })
  .setExpirationTime('1m')
  .sign(Buffer.from(JWT_KEY));

for (const [command, file] of PUBLISHERS) {
  const path = fileURLToPath(new URL(file, import.meta.url));
  const publisher = spawn(command, [path, TOPIC, `hello from ${command}`], {
    env: { ...process.env, HUB_URL, JWT_KEY, TOKEN },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  await once(publisher, 'close').catch(() => console.error(`There is no ${command} here.`));
}
