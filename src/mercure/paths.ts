/** Where the hub is found, and the start of the topics that are its own. */
export const HUB_PATH = '/.well-known/mercure';

/** The start of the ids of subscriptions: paths at which they are found, and topics of their announcements. */
export const SUBSCRIPTIONS_PATH = `${HUB_PATH}/subscriptions`;
