/** What a journal has, as a client reads it that was never there before. */
import { randomUUID } from 'node:crypto';
import { request } from 'node:http';
import { token } from '../tokens.js';
import { BASE } from './world.js';

const PATH = '/.well-known/mercure';
const TIMEOUT_MS = 60_000;
const AUTHORIZATION = `Bearer ${token({ publish: [`${BASE}/{+path}`], subscribe: ['*'] })}`;

/**
 * Reads all honest updates that a node has, in order: the record of each, and its id.
 *
 * @throws if it does not get there in time.
 */
export function readJournal(port, ledger) {
  return new Promise((resolve, reject) => {
    const updates = [];
    const end = `end:${randomUUID()}`;
    let rest = '';
    const options = {
      host: '127.0.0.1',
      port,
      agent: false,
      headers: { Authorization: AUTHORIZATION },
    };
    const asked = request({
      ...options,
      path: `${PATH}?topic=${encodeURIComponent(`${BASE}/{+path}`)}&lastEventID=earliest`,
    });
    const late = setTimeout(
      () => asked.destroy(new Error('the journal is not read in time')),
      TIMEOUT_MS,
    );
    asked.on('error', reject).on('close', () => clearTimeout(late));
    asked.on('response', (response) => {
      response.on('error', reject).on('close', () => reject(new Error('the stream has ended')));
      response.setEncoding('utf8').on('data', (text) => {
        const frames = (rest + text).split('\n\n');
        rest = frames.pop();
        for (const frame of frames) {
          const [, id] = /^id: (.*)$/m.exec(frame) ?? [];
          const [, data] = /^data: (.*)$/m.exec(frame) ?? [];
          const record = data === undefined ? undefined : ledger.recordOf(data);
          if (record !== undefined) updates.push({ record, id });
          if (id !== end) continue;
          resolve(updates);
          asked.destroy();
        }
      });
      publishEnd(end, options).catch(reject);
    });
    asked.end();
  });
}

/** Publishes an update that stands behind all others. */
function publishEnd(id, options) {
  return new Promise((resolve, reject) => {
    const body = new URLSearchParams({ topic: `${BASE}/end`, id }).toString();
    const headers = { ...options.headers, 'Content-Type': 'application/x-www-form-urlencoded' };
    const asked = request({ ...options, headers, path: PATH, method: 'POST' }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part) => {
        text += part;
      });
      response.on('end', () => {
        if (response.statusCode === 200) resolve();
        else reject(new Error(`the end cannot be published: ${response.statusCode} ${text}`));
      });
    });
    asked.on('error', reject).end(body);
  });
}
