import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { type Config, ConfigError } from './config.js';
import { isClosing } from './drain.js';
import { createAnswerClass } from './http/answer.js';
import { closeInTurn } from './http/close-turns.js';
import { linger } from './http/linger.js';
import { OpenConnections } from './http/open-connections.js';
import { pipelineOf } from './http/pipeline.js';
import { answerRaw, describeClientError } from './http/raw-answer.js';
import { inTurns } from './http/request-turns.js';
import { noteAccepted } from './time-slice.js';

/**
 * How many connections the system holds until they are accepted (it may allow fewer): when a server comes back,
 * all clients do at once, and one that is turned away tries again seconds later. Node's own default is 511.
 */
const LISTEN_BACKLOG = 8_192;

/** How long a client may take for the head of a request, from its connection or the head's first byte. */
const HEAD_TIMEOUT_MS = 10_000;
/** How often Node looks for clients that have taken too long: they may take this much longer. */
const CHECK_INTERVAL_MS = 1_000;
/** How long a connection may stand idle between two requests. */
const IDLE_TIMEOUT_MS = 5_000;
/** Bytes of the request line and the headers together; beyond them the answer is 431. */
const MAX_HEAD_BYTES = 16 * 1024;

/** The server of an app, with all that bounds a connection. It does not listen yet. */
export function createHttpServer(app: RequestListener, config: Config): Server {
  const handle = inTurns(app);
  const server: Server = createServer({
    // Node answers 408 through 'clientError' below, and looks at both limits at each check.
    headersTimeout: Math.min(HEAD_TIMEOUT_MS, config.BODY_TIMEOUT_MS),
    requestTimeout: config.BODY_TIMEOUT_MS,
    connectionsCheckingInterval: CHECK_INTERVAL_MS,
    keepAliveTimeout: IDLE_TIMEOUT_MS,
    maxHeaderSize: MAX_HEAD_BYTES,
    // The pipeline refuses a request without a Host: Node would answer a bare 400.
    requireHostHeader: false,
    ServerResponse: createAnswerClass({
      isLast: (answer) =>
        isClosing(server) && pipelineOf(answer.req.socket, handle).endWith(answer),
      onEventStream: (socket) => pipelineOf(socket, handle).enterEventStream(),
    }),
  });
  OpenConnections.watch(server);
  server.on('connection', (socket: Socket) => {
    noteAccepted();
    closeInTurn(socket);
  });
  const take: RequestListener = (request, response) =>
    pipelineOf(request.socket, handle).take(request, response);
  server.on('request', take);
  // The body's reader tells the client to go on, once nothing speaks against the request.
  server.on('checkContinue', take);
  server.on('checkExpectation', take);
  server.on('clientError', (error: NodeJS.ErrnoException, stream) => {
    const socket = stream as Socket;
    const mistake = describeClientError(error);
    if (mistake === undefined || !socket.writable) {
      socket.destroy();
      return;
    }
    pipelineOf(socket, handle).close(() => {
      answerRaw(socket, mistake);
      linger(socket);
    });
  });
  return server;
}

/**
 * Listens where the configuration says. Resolves with the port.
 *
 * @throws {ConfigError} if it cannot listen there.
 */
export function listen(server: Server, config: Config): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', (error) => reject(new ConfigError(refusal(error, config))));
    server.listen({ port: config.PORT, host: config.HOST, backlog: LISTEN_BACKLOG }, () => {
      server.removeAllListeners('error');
      resolve((server.address() as AddressInfo).port);
    });
  });
}

/** Why listening failed, with the setting to look at. */
function refusal({ code, message }: NodeJS.ErrnoException, { PORT, HOST }: Config): string {
  switch (code) {
    case 'EADDRINUSE':
      return `PORT ${PORT} is in use: stop what listens there, or set PORT to another.`;
    case 'EACCES':
      return `PORT ${PORT} needs a privilege that this user does not have: set PORT to one above 1023.`;
    default:
      return `HOST ${JSON.stringify(HOST)} is no address to listen on here (${code ?? message}).`;
  }
}
