/** Where the hub is found, and the start of the topics that are its own. */
export const HUB_PATH = '/.well-known/mercure';
