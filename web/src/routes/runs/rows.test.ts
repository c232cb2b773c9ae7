import { expect, test } from 'vitest';
import type { RunView } from '../../api/types';
import { filterOf, fits } from './filter';
import { withoutRun, withRun, type Page } from './rows';

const run = (id: number, more: Partial<RunView> = {}): RunView =>
  ({ id, change: id, status: 'running', project: 'web', branch: 'main', name: 'CI', ...more }) as RunView;
const pages: Page[] = [{ items: [run(9), run(8)], next_cursor: 'x' }, { items: [run(7)] }];
const ids = (list: readonly Page[]): number[] => list.flatMap((page) => page.items.map((item) => item.id));

test('only what is a filter and set is taken from the address', () => {
  expect(filterOf({ branch: 'main', text: '', label: 3, what: 'x' })).toEqual({ branch: 'main' });
});

test('what a row does not say only the server knows', () => {
  expect(fits(run(1), { branch: 'main' })).toBe(true);
  expect(fits(run(1), { branch: 'dev', text: 'x' })).toBe(false);
  expect(fits(run(1), { branch: 'main', label: 'gpu' })).toBeNull();
});

test('a new run stands at the top', () => {
  expect(ids(withRun(pages, run(10), {}).pages)).toEqual([10, 9, 8, 7]);
  expect(withRun(pages, run(10), { branch: 'dev' })).toEqual({ pages, ask: false });
  expect(withRun(pages, run(10), { text: 'x' }).ask).toBe(true);
});

test('a run that changed stays in its place, or leaves a list that it no longer fits', () => {
  const changed = withRun(pages, run(8, { change: 20, status: 'completed' }), {});
  expect(changed.pages[0]?.items[1]?.status).toBe('completed');
  expect(ids(withRun(pages, run(8, { change: 20, status: 'completed' }), { status: 'running' }).pages)).toEqual([9, 7]);
  expect(withRun(pages, run(8, { change: 3, status: 'completed' }), {}).pages).toBe(pages);
});

test('an old run that came to fit is for the server to place', () => {
  expect(withRun(pages, run(3), { status: 'running' }).ask).toBe(true);
  expect(withRun(pages, run(3), {}).ask).toBe(false);
});

test('a deleted run leaves', () => {
  expect(ids(withoutRun(pages, 8))).toEqual([9, 7]);
  expect(withoutRun(pages, 99)).toBe(pages);
});
