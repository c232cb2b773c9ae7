import { expect, test } from 'vitest';
import type { JobView, RunView } from '../../api/types';
import { directNeeds, nodesOf } from './graph';
import { draw } from './layout';
import { gridOf } from './matrix';
import { withChange } from './merge';
import { groupsOf, marksOf, spanOf, stretchesOf } from './timeline';

let ids = 0;
function job(key: string, more: Partial<JobView> = {}): JobView {
  return {
    id: ++ids, run: 1, key, name: key, needs: [], labels: [], queue: 'default', priority: 0, status: 'queued',
    created_at: '2026-01-01T00:00:00Z', change: 1, ...more,
  } as JobView;
}
const at = (seconds: number): string => new Date(Date.UTC(2026, 0, 1) + seconds * 1000).toISOString();

test('legs of a matrix are one node, named by what they share, standing as the loudest', () => {
  const nodes = nodesOf([
    job('build', { name: 'build (debian, 1)', status: 'completed', conclusion: 'success' }),
    job('build', { name: 'build (debian, 2)', status: 'completed', conclusion: 'failure' }),
    job('test', { needs: ['build', 'gone'] }),
  ]);
  expect(nodes.map((node) => [node.key, node.name, node.legs.length, node.needs, node.standing.word])).toEqual([
    ['build', 'build', 2, [], 'Failed'],
    ['test', 'test', 1, ['build'], 'Queued'],
  ]);
});

test('needs that follow from others are not drawn', () => {
  const nodes = nodesOf([job('a'), job('b', { needs: ['a'] }), job('c', { needs: ['a', 'b'] }), job('d', { needs: ['c', 'a'] })]);
  expect([...directNeeds(nodes)]).toEqual([['a', []], ['b', ['a']], ['c', ['b']], ['d', ['c']]]);
});

test('a drawing goes from left to right and has a line for each direct need', () => {
  const nodes = nodesOf([job('a'), job('b', { needs: ['a'] }), job('c', { needs: ['a'] }), job('d', { needs: ['b', 'c'] })]);
  const drawing = draw(nodes, () => ({ width: 100, height: 40 }));
  const x = (key: string): number => drawing.places.get(key)?.x ?? Number.NaN;
  expect(x('a')).toBeLessThan(x('b'));
  expect(x('b')).toBe(x('c'));
  expect(x('c')).toBeLessThan(x('d'));
  expect(drawing.lines.map((line) => `${line.from}-${line.to}`).sort()).toEqual(['a-b', 'a-c', 'b-d', 'c-d']);
  expect(drawing.width).toBeGreaterThan(300);
});

test('a job waits, is set up, runs its steps and ends', () => {
  const done = job('a', {
    status: 'completed', queued_at: at(0), started_at: at(5), finished_at: at(20),
    steps: [
      { index: 0, id: 'x', name: 'x', status: 'completed', started_at: at(7), finished_at: at(10) },
      { index: 1, id: 'y', name: 'y', status: 'completed', started_at: at(10), finished_at: at(18) },
    ] as JobView['steps'],
  });
  const start = Date.parse(at(0));
  expect(stretchesOf(done, 0).map(({ kind, from, to }) => [kind, (from - start) / 1000, (to - start) / 1000])).toEqual([
    ['waiting', 0, 5], ['set-up', 5, 7], ['step', 7, 10], ['step', 10, 18], ['running', 18, 20],
  ]);
  const waiting = job('b', { queued_at: at(0) });
  expect(stretchesOf(waiting, Date.parse(at(9)))).toEqual([{ kind: 'waiting', from: start, to: Date.parse(at(9)) }]);
  const groups = groupsOf([done, waiting], 'runner', Date.parse(at(30)));
  expect(groups).toHaveLength(1);
  expect(spanOf(groups)).toEqual({ from: start, to: Date.parse(at(20)) });
  expect(spanOf([])).toBeNull();
});

test('marks of an axis are round and few', () => {
  expect(marksOf(9_000, 6)).toEqual([0, 2000, 4000, 6000, 8000]);
  expect(marksOf(60 * 60_000, 6)).toHaveLength(7);
});

test('a matrix becomes a grid in which no leg is lost', () => {
  const leg = (os: string, go: string): JobView => job('build', { name: `build (${os}, ${go})`, matrix: { os, go, fixed: 1 } });
  const grid = gridOf([leg('debian', '1'), leg('debian', '2'), leg('debian', '3'), leg('alpine', '1'), leg('alpine', '1')]);
  expect(grid?.across).toBe('os');
  expect(grid?.columns).toEqual(['debian', 'alpine']);
  expect(grid?.rows.map((row) => row.title)).toEqual(['1', '2', '3', '1 · build (alpine, 1)']);
  expect(grid?.rows.flatMap((row) => row.cells.filter(Boolean))).toHaveLength(5);
  expect(gridOf([job('a'), job('a')])).toBeNull();
});

test('a change replaces the jobs that it names, and an old one nothing', () => {
  const run = { id: 1, change: 5, title: 'new', jobs: [job('a', { id: 901, change: 5 }), job('b', { id: 902, change: 2 })] } as unknown as RunView;
  const late = { id: 1, change: 4, title: 'old', jobs: [job('a', { id: 901, change: 4, status: 'running' }), job('b', { id: 902, change: 4, status: 'running' })] } as unknown as RunView;
  const next = withChange(run, late);
  expect(next?.title).toBe('new');
  expect(next?.jobs?.map((each) => each.status)).toEqual(['queued', 'running']);
});
