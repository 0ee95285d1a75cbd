/** A setting that the process cannot start with. Its message names the setting and what is allowed. */
export class ConfigError extends Error {
  readonly code = 'ERR_CONFIG';
}
