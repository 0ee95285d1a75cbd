FROM node:24-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
# The workspaces are other packages, and tools: the service needs none of them.
RUN npm ci --workspaces=false
COPY tsconfig.json ./
COPY scripts scripts
COPY src src
COPY client client
RUN npm run build && npm prune --omit=dev --workspaces=false

FROM node:24-slim
ENV NODE_ENV=production
# jemalloc gives memory that a peak has taken back to the system; the C library's allocator keeps much of it for good.
RUN apt-get update && apt-get install -y --no-install-recommends libjemalloc2 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
ENV LD_PRELOAD=libjemalloc.so.2
ENV MALLOC_CONF=background_thread:true,narenas:2,dirty_decay_ms:1000,muzzy_decay_ms:1000
WORKDIR /app
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY deploy/healthcheck.sh ./
# The journal: mount a volume here to keep it when the container is replaced.
RUN mkdir data && chown node:node data
VOLUME /app/data
USER node
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s \
  CMD ["bash", "healthcheck.sh"]
# Node itself is PID 1: it handles SIGTERM and SIGINT, and starts no children to reap.
CMD ["node", "dist/main.js"]
