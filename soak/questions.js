/** Questions between the soak's processes: a name and one value each way, over the channel that Node gives a child. */

/** Answers the parent's questions, and ends this process with its parent's. */
export function answerQuestions(answers) {
  process.on('message', async ({ question, name, value }) => {
    try {
      process.send({ question, value: await answers[name](value) });
    } catch (error) {
      process.send({ question, error: error.stack });
    }
  });
  process.once('disconnect', () => process.exit());
}

/** Tells the parent something that it did not ask for. */
export function tell(name, value) {
  if (process.connected) process.send({ told: name, value });
}

/** The parent's side. */
export class Questions {
  #child;
  #open = new Map();
  #next = 1;

  /** @param onTold called with what the child tells: a name and a value. */
  constructor(child, onTold = () => undefined) {
    this.#child = child;
    child.on('message', ({ question, told, value, error }) => {
      if (told !== undefined) return onTold(told, value);
      const asked = this.#open.get(question);
      this.#open.delete(question);
      if (error === undefined) asked?.resolve(value);
      else asked?.reject(new Error(error));
    });
    child.on('error', () => undefined);
    child.once('exit', () => {
      for (const { reject } of this.#open.values()) reject(new Error('the process has ended'));
      this.#open.clear();
    });
  }

  /** @throws if the child ends first, or does not answer in time. */
  ask(name, value, { withinMs = 60_000 } = {}) {
    return new Promise((resolve, reject) => {
      const question = this.#next++;
      if (!this.#child.connected) return reject(new Error('the process has ended'));
      const late = setTimeout(
        () => reject(new Error(`no answer to ${name} in ${withinMs / 1_000} seconds`)),
        withinMs,
      );
      const settle = (end) => (result) => {
        clearTimeout(late);
        end(result);
      };
      this.#open.set(question, { resolve: settle(resolve), reject: settle(reject) });
      this.#child.send({ question, name, value }, (error) => error && reject(error));
    });
  }
}
