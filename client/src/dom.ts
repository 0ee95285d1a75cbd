/** The element with this `data-testid`. A page without it is a mistake to be seen at once. */
export function byTestId<Kind extends Element = HTMLElement>(testId: string): Kind {
  return one(`[data-testid="${testId}"]`);
}

export function one<Kind extends Element = HTMLElement>(selector: string): Kind {
  const element = document.querySelector<Kind>(selector);
  if (element === null) throw new Error(`The page has no ${selector}.`);
  return element;
}

/** An element with a class and children. Strings become text, never markup. */
export function make<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  className: string,
  ...children: (Node | string)[]
): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag);
  if (className !== '') element.className = className;
  element.append(...children);
  return element;
}

/** Lets the keyboard scroll a box. Not every browser gives the focus to one by itself. */
export function scrollByKeyboard(box: HTMLElement): void {
  box.tabIndex = 0;
}

const svgNamespace = 'http://www.w3.org/2000/svg';

export function makeSvg<Tag extends keyof SVGElementTagNameMap>(
  tag: Tag,
  attributes: Record<string, string | number>,
): SVGElementTagNameMap[Tag] {
  const element = document.createElementNS(svgNamespace, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, `${value}`);
  return element;
}
