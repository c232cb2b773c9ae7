/**
 * How a log is divided, kept up to date while lines arrive: the server's outline, and
 * behind its end what the lines themselves show. The server's word replaces what was
 * guessed. Pure: every change makes a new outline.
 */
import { parseCommand } from './command';
import type { LogLine, Outline, OutlineGroup, OutlineStep } from './wire';

/** The outline of a log without lines. */
export const EMPTY: Outline = { total_lines: 0, complete: false, steps: [], groups: [], first_error: null, errors: [] };

/** The outline after more lines. Lines that it covers already change nothing. */
export function extend(outline: Outline, lines: readonly LogLine[]): Outline {
  const fresh = lines.filter((line) => line.n >= outline.total_lines);
  const last = fresh.at(-1);
  if (last === undefined) return outline;
  const steps = new Map<number, OutlineStep>(outline.steps.map((step) => [step.index, step]));
  const groups: OutlineGroup[] = [...outline.groups];
  let firstError = outline.first_error;
  const errors = [...outline.errors];
  for (const line of fresh) {
    const step = steps.get(line.step);
    steps.set(line.step, {
      index: line.step,
      first_line: step?.first_line ?? line.n,
      last_line: line.n,
    });
    const command = parseCommand(line.text);
    if (command?.kind === 'group') {
      groups.push({ from: line.n, to: null, title: command.text, step: line.step });
    } else if (command?.kind === 'endgroup') {
      close(groups, line);
    } else if (command?.kind === 'error') {
      firstError ??= line.n;
      if (errors.length < 1000) errors.push({ line: line.n, step: line.step, text: command.text });
    }
  }
  return {
    total_lines: last.n + 1,
    complete: outline.complete,
    steps: [...steps.values()],
    groups,
    first_error: firstError,
    errors,
  };
}

/** The innermost group of the step that is still open ends. */
function close(groups: OutlineGroup[], line: LogLine): void {
  for (let i = groups.length - 1; i >= 0; i -= 1) {
    const group = groups[i];
    if (group !== undefined && group.to === null && group.step === line.step) {
      groups[i] = { ...group, to: line.n };
      return;
    }
  }
}
