/** What a click into the log means: a heading folds its step, a title its group, a number picks lines. */
import type { MouseEvent } from 'react';
import { type LineRange, select } from './hash';
import type { Folds } from './rows';
import type { Folding, Viewing } from './viewing';

/** What clicks act on. */
export interface Clicked {
  readonly folding: Folding;
  readonly viewing: Viewing;
  readonly picked: LineRange | undefined;
  /** The line (from 1) at which a range begins that a click with Shift ends. */
  readonly anchor: { current: number | undefined };
  pick(lines: LineRange | undefined): void;
}

/** Takes a click anywhere in the log. */
export function click(event: MouseEvent<HTMLElement>, on: Clicked): void {
  if (!(event.target instanceof Element)) return;
  const step = event.target.closest('[data-step]');
  if (step !== null) {
    foldStep(step, on);
    return;
  }
  const group = event.target.closest('[data-group]');
  // Text that is being selected is not a click.
  if (group !== null && String(getSelection()) === '') {
    foldGroup(group, on);
    return;
  }
  const number = event.target.closest('.log-n');
  if (number !== null && !event.ctrlKey && !event.metaKey) pickLine(event, number, on);
}

function foldStep(heading: Element, { folding, viewing }: Clicked): void {
  const index = Number(heading.getAttribute('data-step'));
  const row = folding.rows.ofStep(index) ?? 0;
  const at = folding.rows.at(row);
  const isOpen = at?.kind === 'step' && at.open;
  // The heading that floats at the top leads to the one in the log.
  if (heading.closest('.log-top') !== null) viewing.toRow(row);
  else viewing.hold(row);
  folding.change((before): Folds => ({ ...before, steps: new Map(before.steps).set(index, !isOpen) }));
}

function foldGroup(title: Element, { folding, viewing }: Clicked): void {
  const line = Number(title.getAttribute('data-group'));
  const isOpen = title.getAttribute('aria-expanded') === 'true';
  viewing.hold(folding.rows.ofLine(line));
  folding.change((before): Folds => ({ ...before, groups: new Map(before.groups).set(line, !isOpen) }));
}

function pickLine(event: MouseEvent, number: Element, { viewing, picked, anchor, pick }: Clicked): void {
  event.preventDefault();
  const line = Number(number.parentElement?.getAttribute('data-line')) + 1;
  const next = select(picked, line, event.shiftKey, anchor.current);
  if (!event.shiftKey) anchor.current = line;
  viewing.setFollow(false);
  pick(next);
}
