/** nginx with nchan: one worker process, so that it has one core like the others; messages kept in memory. */
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { freePort } from './free-port.js';

const MODULES = [
  '/usr/lib/nginx/modules/ngx_nchan_module.so',
  '/usr/lib64/nginx/modules/ngx_nchan_module.so',
  '/usr/local/libexec/nginx/ngx_nchan_module.so',
];
const BINARIES = ['/usr/sbin/nginx', '/usr/bin/nginx', '/usr/local/sbin/nginx'];

const binary = BINARIES.find(existsSync);
const nchanModule = MODULES.find(existsSync);

export const isNchanInstalled = binary !== undefined && nchanModule !== undefined;

/** Writes a configuration into a directory; returns the command that runs it, and its port. */
export async function prepareNchan(directory) {
  const port = await freePort();
  const file = join(directory, 'nginx.conf');
  await mkdir(join(directory, 'temp'), { recursive: true });
  await writeFile(file, configuration({ directory, port }));
  return {
    port,
    command: [binary, '-p', directory, '-c', file, '-e', join(directory, 'error.log')],
    errors: () => readFileSync(join(directory, 'error.log'), 'utf8'),
  };
}

function configuration({ directory, port }) {
  return `
load_module ${nchanModule};
${process.getuid() === 0 ? 'user root;' : ''}
daemon off;
worker_processes 1;
worker_rlimit_nofile 16384;
pid ${directory}/nginx.pid;
error_log ${directory}/error.log warn;
events { worker_connections 16000; }
http {
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path ${directory}/temp;
  client_body_buffer_size 64k;
  proxy_temp_path ${directory}/temp;
  fastcgi_temp_path ${directory}/temp;
  uwsgi_temp_path ${directory}/temp;
  scgi_temp_path ${directory}/temp;
  nchan_shared_memory_size 1024M;
  server {
    listen 127.0.0.1:${port};
    location ~ ^/publish/(.+)$ {
      nchan_publisher;
      nchan_channel_id $1;
      nchan_message_buffer_length 100000;
      nchan_message_timeout 5m;
    }
    location ~ ^/subscribe/(.+)$ {
      nchan_subscriber eventsource;
      nchan_channel_id $1;
      nchan_subscriber_first_message newest;
    }
  }
}
`;
}
