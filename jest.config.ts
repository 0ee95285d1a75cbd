/** @jest-config-loader esbuild-register */
import { availableParallelism } from 'node:os';
import type { Config } from 'jest';

const config: Config = {
  testEnvironment: 'node',
  testMatch: ['<rootDir>/test/**/*.test.ts'],
  extensionsToTreatAsEsm: ['.ts'],
  // TypeScript sources import each other by their compiled names: `./frame.js` is frame.ts here.
  moduleNameMapper: { '^(\\.{1,2}/.*)\\.js$': '$1' },
  transform: {
    '^.+\\.ts$': ['@swc/jest', { jsc: { target: 'es2023', parser: { syntax: 'typescript' } } }],
  },
  testTimeout: 20_000,
  // Most tests wait for other processes: with half as many workers again as there are cores these have something to do.
  maxWorkers: Math.ceil(1.5 * availableParallelism()),
};

export default config;
