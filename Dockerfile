FROM node:24-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci
COPY tsconfig.json ./
COPY scripts scripts
COPY src src
COPY client client
RUN npm run build && npm prune --omit=dev

FROM node:24-slim
ENV NODE_ENV=production
# Memory of large updates and bodies goes back to the system when they are gone: without these settings the C library
# keeps it, twice as much at the peak.
ENV MALLOC_ARENA_MAX=2 MALLOC_MMAP_THRESHOLD_=131072 MALLOC_TRIM_THRESHOLD_=131072
WORKDIR /app
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist dist
# The journal: mount a volume here to keep it when the container is replaced.
RUN mkdir data && chown node:node data
VOLUME /app/data
USER node
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s \
  CMD ["node", "dist/healthcheck.js"]
# Node itself is PID 1: it handles SIGTERM and SIGINT, and starts no children to reap.
CMD ["node", "dist/main.js"]
