// Many subscribers over raw sockets, in a process of their own: each parses its frames, and comes back after an end as an
// EventSource does, with its last id, after the time of its last `retry`. Tells its parent what each has received.
import { connect } from 'node:net';

const [, , port, count] = process.argv.map(Number);
const DEFAULT_RETRY_MS = 3_000;
const subscribers = Array.from({ length: count }, () => ({
  lastEventId: '',
  retryMs: DEFAULT_RETRY_MS,
  data: [],
  wasOpen: false,
}));
const report = { open: 0, ends: [], returns: [], refused: 0, broken: 0 };

process.on('message', (message) => {
  if (message === 'report') process.send({ ...report, leastReceived: leastReceived() });
  else process.send(subscribers.map(({ data }) => data));
});
process.on('disconnect', () => process.exit());

for (const subscriber of subscribers) open(subscriber);

function leastReceived() {
  return Math.min(...subscribers.map(({ data }) => data.length));
}

function open(subscriber) {
  if (subscriber.wasOpen) report.returns.push(Date.now());
  const socket = connect(port, '127.0.0.1');
  let text = '';
  let isOpen = false;
  socket.setEncoding('utf8');
  socket.on('connect', () => {
    const id = subscriber.lastEventId && `Last-Event-ID: ${subscriber.lastEventId}\r\n`;
    socket.write(
      `GET /hub?topic=news HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n${id}\r\n`,
    );
  });
  socket.on('data', (bytes) => {
    text += bytes;
    if (!isOpen) {
      const end = text.indexOf('\r\n\r\n');
      if (end === -1) return;
      if (!text.startsWith('HTTP/1.1 200 ')) {
        report.refused += 1;
        socket.destroy();
        return;
      }
      text = text.slice(end + 4);
      isOpen = true;
      subscriber.wasOpen = true;
      report.open += 1;
    }
    const frames = text.split('\n\n');
    text = frames.pop();
    for (const frame of frames) take(subscriber, frame);
  });
  socket.on('error', () => {
    report.broken += 1;
  });
  socket.on('close', () => {
    if (isOpen) {
      report.open -= 1;
      report.ends.push(Date.now());
    }
    setTimeout(() => open(subscriber), subscriber.retryMs);
  });
}

/** The proxy in between sends no chunks: it passes bytes on. */
function take(subscriber, frame) {
  for (const line of frame.split('\n')) {
    const [, name, value] = /^(\w+): ?(.*)$/.exec(line) ?? [];
    if (name === 'id') subscriber.lastEventId = value;
    else if (name === 'retry') subscriber.retryMs = Number(value);
    else if (name === 'data') subscriber.data.push(Number(value));
  }
}
